/**
 * Times of device work.
 *
 * @module
 */
import type { Device } from "../../kernels/device.ts";
import { median } from "../table.ts";

/** Milliseconds of work before anything counts: an idle GPU clocks down, and takes a while to come back. */
const WARM_UP = 300;
const REPEATS = 9;

/** Median of the milliseconds that the device takes for what `record` records. */
export async function medianTime(device: Device, record: () => void): Promise<number> {
  const began = performance.now();
  let repeats = 0;
  do {
    await device.measure(record);
    repeats++;
  } while (performance.now() - began < WARM_UP || repeats < 2);
  const times: number[] = [];
  for (let i = 0; i < REPEATS; i++) times.push(await device.measure(record));
  return median(times);
}
