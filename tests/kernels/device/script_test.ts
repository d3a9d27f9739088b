import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { type Device, type Script } from "../../../kernels/device/device.ts";
import { GpuDevice } from "../../../kernels/device/gpu_device.ts";
import { residualAdd } from "../../../kernels/residual_add/residual_add.ts";
import { absence, describeOnDevices, openDenoDevice, openTestDevice } from "../../support/devices.ts";
import { Random } from "../../../bench/support/random.ts";

const ROWS = 40;

/** Two columns of numbers that are added to each other, here and there. */
async function columns(device: Device) {
  const [a, b] = ["a", "b"].map((name) => device.createBuffer(name, ROWS * 4));
  const kernel = await device.compile(residualAdd, { width: 1 });
  const adds = [kernel.bind({ x: a, delta: b }, { rows: ROWS }), kernel.bind({ x: b, delta: a }, { rows: ROWS })];
  const readback = await device.createReadback("a and b", ROWS * 8);
  const expected = [new Float32Array(ROWS).fill(1), new Float32Array(ROWS).fill(2)];
  [a, b].forEach((buffer, i) => device.write(buffer, 0, expected[i]));
  const params = { rows: 0 };
  return {
    record: (commands: readonly (readonly [to: number, rows: number])[]) => {
      for (const [to, rows] of commands) {
        // One object for all, as linear layers do it.
        params.rows = rows;
        device.run(adds[to], params);
      }
    },
    expect: (commands: readonly (readonly [to: number, rows: number])[]) => {
      for (const [to, rows] of commands) for (let i = 0; i < rows; i++) expected[to][i] += expected[1 - to][i];
    },
    check: async () => {
      for (const [i, buffer] of [a, b].entries()) {
        device.read(readback, buffer, 0, ROWS * 4);
        device.submit();
        assertEquals(new Float32Array((await readback.take()).slice().buffer), expected[i]);
        expected[i].fill(i + 1);
        device.write(buffer, 0, expected[i]);
      }
    },
  };
}

/** A few commands. */
function randomCommands(random: Random): [number, number][] {
  return Array.from({ length: 1 + random.below(6) }, () => [random.below(2), 1 + random.below(ROWS)]);
}

async function playRandomly(device: Device, seed: number): Promise<number> {
  const random = new Random(seed);
  const state = await columns(device);
  const all = Array.from({ length: 12 }, () => randomCommands(random));
  const scripts = new Map<number, Script>();
  let forgotten = 0;
  const play = (which: number) => {
    const script = scripts.get(which);
    if (script !== undefined && device.play(script)) return;
    if (script !== undefined) forgotten++;
    const captured = device.capture(() => state.record(all[which]));
    assertEquals(captured.dispatches, all[which].length);
    scripts.set(which, captured);
    assert(device.play(captured), "what was just captured is there");
  };
  for (let round = 0; round < 60; round++) {
    const which = Array.from({ length: 1 + random.below(3) }, () => random.below(all.length));
    for (const one of which) {
      if (random.below(4) === 0) state.record(all[one]);
      else play(one);
      state.expect(all[one]);
    }
    await state.check();
    // Right or wrong, it changes nothing.
    if (random.below(2) === 0) device.anticipate(() => (random.below(2) === 0 ? which : [random.below(all.length)]).forEach(play));
  }
  return forgotten;
}

describeOnDevices("a script", (kind) => {
  it("runs what it was captured from, anticipated or not, among other commands", async () => {
    const device = await openTestDevice(kind);
    for (const seed of [1, 2, 3]) await playRandomly(device, seed);
    await device.close();
  });

  it("is counted as what it was captured from", async () => {
    const device = await openTestDevice(kind);
    const state = await columns(device);
    const script = device.capture(() => state.record([[0, 3], [1, 2]]));
    assertEquals(device.counters.dispatches, 0);
    device.play(script);
    device.play(script);
    assertEquals([script.dispatches, device.counters.dispatches], [2, 4]);
    device.submit();
    await device.close();
  });
});

describe("scripts with many different parameters", () => {
  const test = absence("deno") === null ? it : it.skip;
  test("are forgotten when there is no room, and captured again", async () => {
    const { device } = await openDenoDevice({ uniforms: { slots: 64, kept: 16 } });
    let forgotten = 0;
    for (const seed of [4, 5, 6]) forgotten += await playRandomly(device, seed);
    assert(forgotten > 10, `${forgotten}`);
    await device.close();
  });

  test("cannot write, read or hold more than there ever is room for", async () => {
    const { device } = await openDenoDevice({ uniforms: { slots: 64, kept: 16 } });
    assert(device instanceof GpuDevice);
    const state = await columns(device);
    const buffer = device.createBuffer("b", 16);
    assertThrows(() => device.capture(() => device.write(buffer, 0, new Uint32Array(1))));
    assertThrows(() => device.capture(() => state.record(Array.from({ length: 17 }, (_, i) => [0, i + 1]))));
    state.record([[0, 5]]);
    state.expect([[0, 5]]);
    await state.check();
    await device.close();
  });
});
