/**
 * Prefill attention to chosen tokens alone, absorbed, on matrix units.
 */
import { afterAll, beforeAll } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import type { Device } from "../../kernels/device/device.ts";
import { SPARSE_DIVISIONS, sparseDivides, sparsePrefill } from "../../kernels/sparse_prefill/sparse_prefill.ts";
import { cacheWidth } from "../../kernels/latent_cache/layout.ts";
import { UNITS_WORKGROUP_BYTES } from "../../workers/load/plan_memory.ts";
import { Random } from "../../bench/support/random.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, itOnUnits, openTestDevice, unitsOf } from "../support/devices.ts";
import { runKernel } from "../support/kernel.ts";
import { attend } from "../support/latents.ts";

const CACHE = { dtype: "f16", keyWidth: 240, ropeWidth: 16 } as const;
const SHAPE = { cache: CACHE, valueOffset: 0, valueWidth: 128 };

describeOnDevices("prefill of nothing but chosen tokens", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  for (const division of SPARSE_DIVISIONS.filter((division) => sparseDivides(SHAPE, division, UNITS_WORKGROUP_BYTES))) {
    itOnUnits(kind)(
      `attends to them, wherever they are, with the same bits whatever rows are beside, divided ${Object.values(division)}`,
      async () => {
        const random = new Random();
        const width = cacheWidth(CACHE);
        const { valueWidth } = SHAPE;
        const [slots, stride, topTokens, heads, scale] = [200, 64, 61, 19, 0.2];
        // One token, whole tiles, some of one, more than may be chosen; scores that grow far beyond what they began with, in some rows.
        const contexts = [1, 16, 33, 61, 500];
        const rows = contexts.length;
        const cache = Float16Array.from(random.normals(slots * width));
        for (let slot = 0; slot < slots; slot++) cache[(slot + 1) * width - 1] = slot / 2;
        const queries = Float16Array.from(random.normals(rows * heads * width));
        for (let item = 0; item < rows * heads; item++) queries[(item + 1) * width - 1] = item % 3 === 0 ? 5 : item % 3 === 1 ? -5 : 0;
        // A row before, whose words say nothing.
        const chosen = Uint32Array.from({ length: (rows + 1) * stride }, (_, i) => i < stride ? 2 ** 31 : (i * 37 + 11) % slots);
        const step = Uint32Array.from([9, 9, 9, 9, ...contexts.flatMap((context) => [7, context - 1, 7, 7])]);
        const run = async (first: number, count: number) => {
          const config = { ...SHAPE, slots, heads, scale, topTokens, stride, division };
          const inputs = {
            queries: queries.slice(first * heads * width, (first + count) * heads * width),
            cache,
            chosen,
            step,
            out: { poison: count * heads * valueWidth / 2 },
          };
          const { out } = await runKernel(unitsOf(device), sparsePrefill, config, inputs, { rows: count, first_row: first + 1 });
          return Float32Array.from(new Float16Array(out.u32.buffer));
        };
        const all = await run(0, rows);
        const values = Float32Array.from(cache);
        const expected = Array.from({ length: rows * heads }, (_, item) => {
          const row = Math.floor(item / heads);
          const count = Math.min(topTokens, contexts[row]);
          const own = Array.from(chosen.subarray((row + 1) * stride, (row + 1) * stride + count));
          const scores = Float64Array.from(own, (slot) => {
            let score = 0;
            for (let c = 0; c < width; c++) score += queries[item * width + c] * cache[slot * width + c];
            return score * scale;
          });
          return attend(scores, values, own.map((slot) => slot * width), valueWidth);
        }).flat();
        assertClose(all, expected, 2e-3, "sums");
        assert(all.every(Number.isFinite));
        for (const [first, count] of [[0, 1], [2, 3]]) {
          assertEquals(await run(first, count), all.slice(first * heads * valueWidth, (first + count) * heads * valueWidth));
        }
      },
    );
  }
});
