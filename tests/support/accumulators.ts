/**
 * Commands whose results are known: accumulators that are added to each other.
 *
 * @module
 */
import { assertEquals } from "@std/assert";
import type { BoundKernel, Device, DeviceBuffer, Readback } from "../../kernels/device/device.ts";
import { residualAdd } from "../../kernels/residual_add/residual_add.ts";

const WIDTH = 64;
export const ROWS = 3;

/** One command: an accumulator += the other, in its first rows. */
export type Add = readonly [to: number, rows: number];

/** Two accumulators that commands add to each other, and what they should hold. */
export class Accumulators {
  readonly device: Device;
  readonly rows: number;
  readonly buffers: readonly DeviceBuffer[];
  readonly adds: readonly BoundKernel<"rows">[];
  readonly readback: Readback;
  readonly expected: [Float32Array, Float32Array];

  private constructor(device: Device, rows: number, buffers: readonly DeviceBuffer[], adds: readonly BoundKernel<"rows">[], readback: Readback) {
    this.device = device;
    this.rows = rows;
    this.buffers = buffers;
    this.adds = adds;
    this.readback = readback;
    this.expected = [new Float32Array(rows * WIDTH), new Float32Array(rows * WIDTH)];
    this.reset();
  }

  static async create(device: Device, rows = ROWS): Promise<Accumulators> {
    const buffers = ["a", "b"].map((name) => device.createBuffer(name, rows * WIDTH * 4));
    const kernel = await device.compile(residualAdd, { width: WIDTH });
    const adds = [0, 1].map((to) => kernel.bind({ x: buffers[to], delta: buffers[1 - to] }, { rows }));
    return new Accumulators(device, rows, buffers, adds, await device.createReadback("a or b", rows * WIDTH * 4));
  }

  /** Records, and does the same here. */
  add(...commands: readonly Add[]): void {
    for (const [to, rows] of commands) {
      this.device.run(this.adds[to], { rows });
      for (let i = 0; i < rows * WIDTH; i++) this.expected[to][i] = this.expected[to][i] + this.expected[1 - to][i];
    }
  }

  /** Ends a submission by reading one of them, of which nothing is waited for yet. */
  end(which: number): void {
    this.device.read(this.readback, this.buffers[which], 0, this.rows * WIDTH * 4);
    this.device.submit();
  }

  /** Says what comes next: commands, and if `which` is given that it is read. */
  anticipate(commands: readonly Add[], which: number | null): void {
    this.device.anticipate(() => {
      for (const [to, rows] of commands) this.device.run(this.adds[to], { rows });
      if (which !== null) this.end(which);
    });
  }

  async check(which: number): Promise<void> {
    assertEquals(new Float32Array((await this.readback.take()).slice().buffer), this.expected[which]);
  }

  /** One submission and its result. */
  async run(commands: readonly Add[], which = 0): Promise<void> {
    this.add(...commands);
    this.end(which);
    await this.check(which);
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

/** Submissions that were as anticipated, and that were not, while `body` ran. */
export async function foreseen(device: Device, body: () => Promise<void>): Promise<[ahead: number, unforeseen: number]> {
  const { submissionsAhead, submissionsUnforeseen } = device.counters;
  await body();
  return [device.counters.submissionsAhead - submissionsAhead, device.counters.submissionsUnforeseen - submissionsUnforeseen];
}
