import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import type { Device } from "../../kernels/device/device.ts";
import { identityExperts } from "../../kernels/identity_experts/identity_experts.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, openTestDevice } from "../support/devices.ts";
import { runKernel } from "../support/kernel.ts";
import { Random } from "../../bench/support/random.ts";

describeOnDevices("identity_experts", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  it("gives inputs times their gates, and leaves every token as many experts, each once, of which those in its place weigh nothing", async () => {
    const random = new Random();
    for (const [tokens, width, experts, active] of [[1, 1, 1, 1], [5, 69, 8, 8], [7, 61, 9, 3], [2, 512, 4, 3], [0, 8, 4, 2]]) {
      for (const adds of [true, false]) {
        const [gates, h] = [random.normals(tokens * active), random.normals(tokens * width)];
        // Some have all of one kind, and none has one twice.
        const drawn = Array.from({ length: tokens }, () => {
          const all = Array.from({ length: experts + active }, (_, expert) => expert);
          return Array.from({ length: active }, () => all.splice(random.below(all.length), 1)[0]);
        });
        if (tokens > 2) drawn[1] = Array.from({ length: active }, (_, k) => experts + k);
        const routes = Uint32Array.from(drawn.flat());
        const result = await runKernel(device, identityExperts, { width, experts, activeExperts: active, adds }, {
          routes,
          gates,
          h,
          y: new Float32Array(tokens * width).fill(NaN),
        }, { tokens });
        const expected = Array.from({ length: tokens * width }, (_, i) => {
          const token = Math.floor(i / width);
          const sum = drawn[token].reduce((sum, expert, k) => sum + (expert >= experts ? gates[token * active + k] : 0), 0);
          return adds ? sum * h[i] : 0;
        });
        assertClose(result.y.f32, expected, 1e-6, `${tokens}×${width}`);
        drawn.forEach((chosen, token) => {
          const left = [...result.routes.u32.subarray(token * active, (token + 1) * active)];
          assertEquals(new Set(left).size, active);
          assertEquals(left.every((expert) => expert < experts), true);
          chosen.forEach((expert, k) => {
            assertEquals(left[k] === expert || expert >= experts, true);
            assertEquals(result.gates.f32[token * active + k], expert < experts ? gates[token * active + k] : 0);
          });
        });
      }
    }
  });
});
