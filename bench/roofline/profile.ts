/**
 * A decode step taken apart.
 *
 * @module
 */
import { AdjustmentList } from "../../workers/forward/adjustment_list.ts";
import type { HeadQuery } from "../../workers/forward/logits_head.ts";
import type { Model } from "../../workers/forward/model.ts";
import { median } from "../table.ts";
import { type Ceilings, measureCeilings } from "./ceilings.ts";
import { costOf, type TracedStep } from "./costs.ts";
import { Stopwatch } from "./stopwatch.ts";
import { type Dispatch, sidesOf, type TracingDevice } from "./tracing_device.ts";

/** All runs of one kernel with one configuration in a step. */
export interface KernelProfile {
  readonly name: string;
  readonly runs: number;
  readonly ms: number;
  readonly bytes: number;
  readonly flop: number;
  /** The least time that bytes or operations could take, of the time it took. */
  readonly ofCeiling: number;
}

/** A step. */
export interface StepProfile {
  readonly ceilings: Ceilings;
  readonly kernels: readonly KernelProfile[];
  readonly dispatches: number;
  /** Median time on the device. */
  readonly stepMs: number;
  /** Median time by the clock, with recording and reading candidates back. */
  readonly wallMs: number;
}

/** Milliseconds of steps by the clock, of which the later half counts: the host has compiled its code by then. */
const BY_THE_CLOCK = 2000;

/** Measures a step of `rows` sequences that each attend to `context` tokens. */
export async function profileStep(device: TracingDevice, model: Model, step: TracedStep): Promise<StepProfile> {
  const stopwatch = await Stopwatch.start(device);
  const sequences = Array.from({ length: step.rows }, () => {
    const sequence = model.cache.open();
    model.cache.grow(sequence, step.context);
    return sequence;
  });
  const rows = sequences.map((sequence, row) => ({ token: 1 + row, position: step.context - 1, sequence }));
  const record = () => {
    model.record({ phase: "decode", rows });
    model.head.recordLogits("decode", 0, step.rows);
  };
  const query = { key: 0, inverseTemperature: 1, plain: 1, adjusted: 0, adjustments: new AdjustmentList(), mask: null, draw: false };
  const queries = rows.map(({ position }): HeadQuery => ({ ...query, position }));
  const again = () => {
    model.record({ phase: "decode", rows });
    model.head.recordOutline("decode", 0, queries);
  };
  const whole = async () => {
    record();
    await model.head.answers(queries, () => model.anticipate(again));
  };
  await whole();
  device.take();
  record();
  const dispatches = device.take();
  device.submit();
  const stepMs = await stopwatch.milliseconds(record);
  const wallMs = await timeByTheClock(device, whole);
  const ceilings = await measureCeilings(device, stopwatch);
  const kernels = await profileKernels(device, stopwatch, dispatches, ceilings, step);
  stopwatch.stop();
  device.take();
  for (const sequence of sequences) model.cache.close(sequence);
  return { ceilings, kernels, dispatches: dispatches.length, stepMs, wallMs };
}

/** Milliseconds of a step by the clock. */
async function timeByTheClock(device: TracingDevice, whole: () => Promise<void>): Promise<number> {
  const times: number[] = [];
  const began = performance.now();
  while (performance.now() - began < BY_THE_CLOCK || times.length < 4) {
    const started = performance.now();
    await whole();
    times.push(performance.now() - started);
    // Or what was traced would pile up.
    device.take();
  }
  return median(times.slice(times.length / 2));
}

/** What each kind of kernel takes, the longest first. */
async function profileKernels(
  device: TracingDevice,
  stopwatch: Stopwatch,
  dispatches: readonly Dispatch[],
  ceilings: Ceilings,
  step: TracedStep,
): Promise<KernelProfile[]> {
  const kernels: KernelProfile[] = [];
  for (const [name, runs] of Map.groupBy(dispatches, kernelName)) {
    const costs = runs.map((dispatch) => costOf(dispatch, step));
    const bytes = costs.reduce((sum, cost) => sum + cost.bytes, 0);
    const flop = costs.reduce((sum, cost) => sum + cost.flop, 0);
    // All layers' together, so that caches are as cold as in a step.
    const ms = await stopwatch.milliseconds(() => {
      for (const { bound, params } of runs) device.run(bound, params);
    });
    const least = Math.max(bytes / ceilings.bytesPerSecond, flop / ceilings.flopPerSecond) * 1000;
    kernels.push({ name, runs: runs.length, ms, bytes, flop, ofCeiling: least / ms });
  }
  return kernels.sort((a, b) => b.ms - a.ms);
}

/** Kernels of one name differ by their sizes. */
export function kernelName(dispatch: Dispatch): string {
  const both = sidesOf(dispatch);
  if (both !== null) {
    const [first, second] = both;
    const size = first.kernel.name === second.kernel.name ? sizeOf(second) : undefined;
    return `${kernelName(first)} + ${size ?? kernelName(second)}`;
  }
  const size = sizeOf(dispatch);
  return size === undefined ? dispatch.kernel.name : `${dispatch.kernel.name} ${size}`;
}

function sizeOf({ config }: Dispatch): string | number | undefined {
  const { layout, outputs, rows, width } = (config ?? {}) as {
    readonly layout?: { readonly format: string; readonly columns: number };
    readonly outputs?: number;
    readonly rows?: number;
    readonly width?: number;
  };
  const height = outputs ?? rows;
  return layout === undefined ? width : `${height === undefined ? "" : `${height} x `}${layout.columns} ${layout.format}`;
}
