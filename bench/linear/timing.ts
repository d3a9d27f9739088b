/**
 * Times one way to multiply so many rows by a layer.
 *
 * @module
 */
import type { BoundKernel, CompiledKernel, Device } from "../../kernels/device/device.ts";
import type { LinearBindings, LinearParams } from "../../kernels/linear/linear.ts";
import type { Stopwatch } from "../roofline/stopwatch.ts";
import type { MadeLayer } from "./layers.ts";

/** Dispatches that are timed together; fewer of what takes long. */
const TOGETHER = 16;
/** Runs whose median counts. */
const RUNS = 3;

/** Milliseconds that a kernel takes for so many rows. */
export async function timeOne(
  device: Device,
  stopwatch: Pick<Stopwatch, "milliseconds">,
  { layer, config, copies, x, y, routes }: MadeLayer,
  kernel: CompiledKernel<LinearBindings, LinearParams>,
  rows: number,
): Promise<number> {
  const params = { items: rows * layer.active, first_output: 0, part_outputs: config.outputs, first_matrix: 0, matrices: layer.matrices };
  const bound: BoundKernel<LinearParams>[] = copies.map((copy) => kernel.bind({ ...copy, routes: routes.get(rows)!.buffer, x, y }, params));
  const together = copies.length > 1 ? TOGETHER : TOGETHER / 8;
  return await stopwatch.milliseconds((run) => device.run(bound[run % bound.length], params), together, RUNS);
}
