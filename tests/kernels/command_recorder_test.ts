import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import type { BoundKernel, Device, DeviceBuffer, Readback } from "../../kernels/device.ts";
import { residualAdd } from "../../kernels/residual_add/residual_add.ts";
import { describeOnDevices, openTestDevice } from "../support/devices.ts";
import { Random } from "../support/random.ts";

const WIDTH = 64;
const ROWS = 3;

/** Two accumulators that commands add to each other, and what they should hold. */
class Accumulators {
  readonly device: Device;
  readonly buffers: readonly DeviceBuffer[];
  readonly adds: readonly BoundKernel<"rows">[];
  readonly readback: Readback;
  readonly expected: [Float32Array, Float32Array] = [new Float32Array(ROWS * WIDTH).fill(1), new Float32Array(ROWS * WIDTH).fill(1)];

  private constructor(device: Device, buffers: readonly DeviceBuffer[], adds: readonly BoundKernel<"rows">[], readback: Readback) {
    this.device = device;
    this.buffers = buffers;
    this.adds = adds;
    this.readback = readback;
  }

  static async create(device: Device): Promise<Accumulators> {
    const buffers = ["a", "b"].map((name) => device.createBuffer(name, ROWS * WIDTH * 4));
    for (const buffer of buffers) device.write(buffer, 0, new Float32Array(ROWS * WIDTH).fill(1));
    const kernel = await device.compile(residualAdd, { width: WIDTH });
    const adds = [0, 1].map((to) => kernel.bind({ x: buffers[to], delta: buffers[1 - to] }, { rows: ROWS }));
    return new Accumulators(device, buffers, adds, await device.createReadback("a or b", ROWS * WIDTH * 4));
  }

  /** to += the other, in its first rows. */
  add(to: number, rows: number): void {
    this.device.run(this.adds[to], { rows });
    for (let i = 0; i < rows * WIDTH; i++) this.expected[to][i] = this.expected[to][i] + this.expected[1 - to][i];
  }

  /** Ends a submission by reading one of them. */
  async check(which: number): Promise<void> {
    this.device.read(this.readback, this.buffers[which], 0, ROWS * WIDTH * 4);
    this.device.submit();
    assertEquals(new Float32Array((await this.readback.take()).slice().buffer), this.expected[which]);
  }

  /** Starts again from small numbers. */
  reset(): void {
    for (const which of [0, 1]) {
      this.expected[which].fill(1);
      this.device.write(this.buffers[which], 0, this.expected[which].slice());
    }
  }

  destroy(): void {
    for (const buffer of this.buffers) buffer.destroy();
    this.readback.destroy();
  }
}

describeOnDevices("recorded commands", (kind) => {
  let device: Device;
  // As it serves: commands of a trace may name buffers that are gone, with nobody to check them.
  beforeAll(async () => void (device = await openTestDevice(kind, {}, false)));
  afterAll(() => device.close());

  it("are encoded ahead when they come again, and do the same", async () => {
    const state = await Accumulators.create(device);
    const before = device.counters.submissionsAhead;
    for (let step = 0; step < 10; step++) {
      state.add(0, 3);
      await state.check(0);
      state.add(1, 2);
      await state.check(1);
    }
    const ahead = device.counters.submissionsAhead - before;
    assertEquals(ahead, kind === "cpu" ? 0 : 15, "all but what had to be seen twice");
    state.destroy();
  });

  it("are encoded after all when other parameters, fewer or more commands come than before", async () => {
    const state = await Accumulators.create(device);
    for (let step = 0; step < 4; step++) {
      state.add(0, 3);
      state.add(1, 3);
      await state.check(0);
    }
    state.add(0, 3);
    state.add(1, 1);
    await state.check(1);
    state.add(0, 3);
    await state.check(0);
    for (const rows of [3, 3, 2]) state.add(1, rows);
    await state.check(1);
    state.destroy();
  });

  it("run in pieces when they are many, and differ from before at any place", async () => {
    const state = await Accumulators.create(device);
    const long = Array.from({ length: 150 }, (_, i) => ({ to: i % 2, rows: 1 + i % 3 }));
    const run = async (commands: typeof long) => {
      state.reset();
      for (const { to, rows } of commands) state.add(to, rows);
      await state.check(0);
    };
    // Pieces begin at commands 0, 32 and 128; the copy is one more command.
    for (const place of [0, 1, 31, 32, 33, 100, 127, 128, 129, 149]) {
      for (let again = 0; again < 4; again++) await run(long);
      await run(long.map(({ to, rows }, i) => ({ to: i === place ? 1 - to : to, rows })));
      for (let again = 0; again < 4; again++) await run(long);
      await run(long.slice(0, place));
    }
    for (let again = 0; again < 4; again++) await run(long);
    const before = device.counters.submissionsAhead;
    await run(long);
    assertEquals(device.counters.submissionsAhead - before, kind === "cpu" ? 0 : 1);
    state.destroy();
  });

  it("end where a piece ends", async () => {
    const state = await Accumulators.create(device);
    const run = async (count: number, copy: boolean) => {
      for (let i = 0; i < count; i++) state.add(i % 2, 2);
      if (copy) return await state.check(0);
      device.submit();
    };
    for (let again = 0; again < 5; again++) await run(60, true);
    // Everything that came is on its way already.
    await run(32, false);
    await run(0, true);
    for (let again = 0; again < 5; again++) {
      state.reset();
      await run(60, true);
    }
    state.destroy();
  });

  it("go out in pieces when they were not expected, and are timed in one", async () => {
    const state = await Accumulators.create(device);
    // Seldom enough to the second that sums stay finite.
    const add = (count: number) => {
      for (let i = 0; i < count; i++) state.add(i % 10 === 9 ? 1 : 0, 1 + i % 3);
    };
    // A piece has 96; the copy is one more command.
    for (const count of [94, 95, 96, 97, 191, 192, 300]) {
      state.reset();
      add(count);
      await state.check(0);
    }
    state.reset();
    const ms = await device.measure(() => add(300));
    assert(ms >= 0);
    await state.check(1);
    assert(state.expected[1].every(Number.isFinite));
    state.destroy();
  });

  it("may name buffers that are gone, if nobody asks for them again", async () => {
    const [lasting, passing] = [await Accumulators.create(device), await Accumulators.create(device)];
    for (let step = 0; step < 4; step++) {
      for (const state of [lasting, passing]) {
        state.add(0, 3);
        await state.check(0);
      }
    }
    passing.destroy();
    // It was always followed by the one that is gone, which is encoded ahead now.
    lasting.add(0, 3);
    await lasting.check(0);
    const following = await Accumulators.create(device);
    following.add(0, 3);
    await following.check(0);
    await device.settle();
    for (const state of [lasting, following]) state.destroy();
  });

  it("do what was asked, in any order of a few programs", async () => {
    const random = new Random();
    const state = await Accumulators.create(device);
    const programs = [[[0, 3]], [[0, 3], [1, 3]], [[0, 3], [1, 2], [0, 1]], [[1, 1]]];
    const before = device.counters.submissionsAhead;
    for (let step = 0; step < 60; step++) {
      // Runs of one program, as decoding has them, with others between.
      const program = programs[random.below(4) > 0 ? Math.floor(step / 9) % 4 : random.below(4)];
      if (step % 5 === 0) state.reset();
      for (const [to, rows] of program) state.add(to, rows);
      await state.check(random.below(8) > 0 ? 0 : 1);
    }
    assert(kind === "cpu" || device.counters.submissionsAhead > before, "some were foreseen");
    state.destroy();
  });
});
