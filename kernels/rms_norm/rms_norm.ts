/**
 * Root-mean-square normalisation with a gain.
 *
 * @module
 */
import { constants, type Kernel } from "../authoring/contract.ts";
import floats from "./floats.wgsl" with { type: "text" };
import inverseRms from "./inverse_rms.wgsl" with { type: "text" };
import put from "./put.wgsl" with { type: "text" };
import source from "./rms_norm.wgsl" with { type: "text" };
import { normaliseRows } from "./wasm.ts";
import vectors from "./vectors.wgsl" with { type: "text" };

/** Width that is normalised, and floats from one row of x to the next. */
export interface RmsNormConfig {
  readonly width: number;
  readonly inputStride: number;
  readonly eps: number;
}

/** y[i] = x[r] / √(mean(x[r]²) + eps) · gamma with r = first_row + i; x: [first_row + rows, inputStride], y: [rows, width]. */
export const rmsNorm: Kernel<RmsNormConfig, "x" | "gamma" | "y", "rows" | "first_row"> = {
  name: "rms_norm",
  bindings: { x: "read", gamma: "read", y: "read_write" },
  params: ["rows", "first_row"],
  wgsl({ width, inputStride, eps }) {
    const values = valuesPerRead(width, inputStride);
    return constants({ INPUT_STRIDE: inputStride / values }) + rowWgsl({ width, eps }, values) + put + source;
  },
  workgroups: (_, { rows }) => [rows, 1, 1],
  sizes: ({ width, inputStride }, { rows, first_row }) => ({
    x: rows === 0 ? 0 : ((first_row + rows - 1) * inputStride + width) * 4,
    gamma: width * 4,
    y: rows * width * 4,
  }),
  reference({ width, inputStride, eps }, { x, gamma, y }, { rows, first_row }) {
    for (let row = 0; row < rows; row++) {
      const from = (first_row + row) * inputStride;
      const scale = rmsScale(x.f32, from, width, eps);
      for (let k = 0; k < width; k++) y.f32[row * width + k] = x.f32[from + k] * scale * gamma.f32[k];
    }
  },
  wasm: (config) => (binding) => {
    const run = normaliseRows(binding, { ...binding.at, delta: 0 }, config);
    return ({ rows, first_row }) => run(rows, first_row);
  },
};

/** Threads that normalise a row. */
export const NORM_THREADS = 256;
/** Partial sums of squares. */
const RMS_PARTS = 16;

/** Floats that are read at a time: four, where rows are whole vectors of them, so that all kernels that normalise them add their squares in the same order. */
export function valuesPerRead(width: number, inputStride: number = width): 1 | 4 {
  return width % 4 === 0 && inputStride % 4 === 0 ? 4 : 1;
}

/** `Values`, that many of them, with `add_squares(values, sum)`; `ROW_VALUES` of a row; and {@link inverseRmsWgsl} with what it takes. */
export function rowWgsl({ width, eps }: Omit<RmsNormConfig, "inputStride">, values: 1 | 4): string {
  return constants({ WIDTH: width, ROW_VALUES: width / values }, { EPS: eps }) + (values === 4 ? vectors : floats) + inverseRmsWgsl(NORM_THREADS);
}

/** `inverse_rms(thread, own, width, eps)`, where `own` is a thread's sum of squares, for workgroups of `RMS_THREADS`. */
export function inverseRmsWgsl(threads: number): string {
  return constants({ RMS_THREADS: threads, RMS_PARTS }) + inverseRms;
}

/** Workgroup memory of that, for so many threads. */
export function inverseRmsBytes(threads: number): readonly number[] {
  return [threads * 4, RMS_PARTS * 4];
}

/** 1 / √(mean of squares + eps) of `width` floats. */
export function rmsScale(x: Float32Array, from: number, width: number, eps: number): number {
  let sum = 0;
  for (let k = from; k < from + width; k++) sum += x[k] * x[k];
  return 1 / Math.sqrt(sum / width + eps);
}
