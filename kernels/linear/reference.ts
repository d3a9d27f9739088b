/**
 * The host side of both linear kernels. Each weight row is widened once and multiplied with all inputs that use it.
 *
 * @module
 */
import { type MatrixViews, unpackRow } from "../../core/model/packing.ts";
import type { HostBuffer } from "../authoring/contract.ts";
import type { InputConfig, LinearBindings, LinearConfig } from "./linear.ts";
import { itemsPerInput } from "./select.ts";

/** Items that one matrix multiplies. */
export interface Batch {
  /** Rows of the bound weights to multiply with. */
  readonly firstWeightRow: number;
  readonly weightRows: number;
  /** Column of y that the first weight row produces. */
  readonly firstOutput: number;
  readonly items: ArrayLike<number>;
  /** Whether y takes the products in. */
  readonly adds?: boolean;
}

/** Multiplies one batch. */
export function multiply(config: LinearConfig, buffers: Readonly<Record<LinearBindings, HostBuffer>>, batch: Batch): void {
  const { layout, outputs } = config;
  const { columns } = layout;
  const count = batch.items.length;
  const inputs = gatherInputs(buffers.x, batch.items, config);
  const y = buffers.y.f32;
  const put = (at: number, value: number) => y[at] = batch.adds ? y[at] + Math.fround(value) : value;
  const row = scratch("row", columns);
  const weights: MatrixViews = buffers.weights;
  const scales: MatrixViews = buffers.scales;
  for (let output = 0; output < batch.weightRows; output++) {
    unpackRow(layout, weights, scales, batch.firstWeightRow + output, row);
    const column = batch.firstOutput + output;
    let i = 0;
    for (; i + 1 < count; i += 2) {
      dotPair(row, inputs, i * columns, columns);
      put(batch.items[i] * outputs + column, PAIR[0]);
      put(batch.items[i + 1] * outputs + column, PAIR[1]);
    }
    if (i < count) put(batch.items[i] * outputs + column, dot(row, inputs, i * columns, columns));
  }
}

/** Inputs of the items, widened once: [items, columns]. */
export function gatherInputs(
  { f32: x, f16 }: HostBuffer,
  items: ArrayLike<number>,
  { layout: { columns }, inputStride, input, select }: InputConfig,
): Float64Array {
  const perInput = itemsPerInput(select);
  const inputs = scratch("inputs", items.length * columns);
  for (let i = 0; i < items.length; i++) {
    const from = Math.floor(items[i] / perInput) * (input === "rounded" ? columns : inputStride);
    const to = i * columns;
    if (input === "rounded") { for (let k = 0; k < columns; k++) inputs[to + k] = f16[from + k]; }
    else if (input === "plain") { for (let k = 0; k < columns; k++) inputs[to + k] = x[from + k]; }
    else for (let k = 0; k < columns; k++) inputs[to + k] = x[from + k] / (1 + Math.exp(-x[from + k])) * x[from + columns + k];
  }
  return inputs;
}

/** Four partial sums; {@link dotPair} adds in the same order, so that a row's result does not depend on its neighbours. */
function dot(w: Float64Array, x: Float64Array, at: number, length: number): number {
  let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  let k = 0;
  for (; k + 3 < length; k += 4) {
    s0 += w[k] * x[at + k];
    s1 += w[k + 1] * x[at + k + 1];
    s2 += w[k + 2] * x[at + k + 2];
    s3 += w[k + 3] * x[at + k + 3];
  }
  for (; k < length; k++) s0 += w[k] * x[at + k];
  return s0 + s1 + (s2 + s3);
}

const PAIR = new Float64Array(2);

/** Dot products of `w` with two consecutive rows of `x`, into {@link PAIR}. */
function dotPair(w: Float64Array, x: Float64Array, at: number, length: number): void {
  let s0 = 0, s1 = 0, s2 = 0, s3 = 0, t0 = 0, t1 = 0, t2 = 0, t3 = 0;
  const next = at + length;
  let k = 0;
  for (; k + 3 < length; k += 4) {
    const w0 = w[k], w1 = w[k + 1], w2 = w[k + 2], w3 = w[k + 3];
    s0 += w0 * x[at + k];
    s1 += w1 * x[at + k + 1];
    s2 += w2 * x[at + k + 2];
    s3 += w3 * x[at + k + 3];
    t0 += w0 * x[next + k];
    t1 += w1 * x[next + k + 1];
    t2 += w2 * x[next + k + 2];
    t3 += w3 * x[next + k + 3];
  }
  for (; k < length; k++) {
    s0 += w[k] * x[at + k];
    t0 += w[k] * x[next + k];
  }
  PAIR[0] = s0 + s1 + (s2 + s3);
  PAIR[1] = t0 + t1 + (t2 + t3);
}

const SCRATCH = { row: new Float64Array(0), inputs: new Float64Array(0) };

/** Reused working memory: the hot path allocates nothing once it has grown. */
function scratch(name: keyof typeof SCRATCH, length: number): Float64Array {
  if (SCRATCH[name].length < length) SCRATCH[name] = new Float64Array(length);
  return SCRATCH[name];
}
