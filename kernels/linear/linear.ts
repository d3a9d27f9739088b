/**
 * What the linear kernels, `matvec` and `batch_matvec` (decode) and `matmul` (prefill), have in common: y[item] = W · x[input of item].
 *
 * Those of decode add in one order (`order.ts`), and which of them runs is a matter of time alone (`choose.ts`). Those of prefill add in another, so that the
 * phase decides between them, never the number of rows: a result must not depend on what else is in the batch.
 *
 * @module
 */
import type { MatrixLayout } from "../../core/model/packing.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Params } from "../authoring/contract.ts";
import inputSource from "./input.wgsl" with { type: "text" };
import inputFloats from "./input_floats.wgsl" with { type: "text" };
import inputVectors from "./input_vectors.wgsl" with { type: "text" };
import { itemsPerInput, type Select } from "./select.ts";

/** A stack of equally shaped matrices, each [outputs, layout.columns]. */
export interface LinearConfig {
  readonly layout: MatrixLayout;
  /** Rows of one matrix. For `select: all` a part of the matrix may be bound; `outputs` is then that of the whole. */
  readonly outputs: number;
  /** Floats from one input row to the next, at least what is read of one. */
  readonly inputStride: number;
  /**
   * What is multiplied. `plain`: x[k]. `gated`: silu(x[k]) · x[columns + k], the activation of feed-forward layers, whose gates and values are the two halves of an
   * input row. `rounded`: either, rounded to f16 before (round_input.ts), as matrix units take it.
   */
  readonly input: "plain" | "gated" | "rounded";
  readonly select: Select;
}

/** Bindings of a linear kernel; `routes` is read only by `select: expert`. */
export type LinearBindings = "weights" | "scales" | "routes" | "x" | "y";

/**
 * `items`: output rows. `first_output`, `part_outputs`: which rows of the matrix are bound (`select: all`). `first_matrix`, `matrices`: which
 * matrices of the stack are bound; items of others are left alone.
 */
export type LinearParams = "items" | "first_output" | "part_outputs" | "first_matrix" | "matrices";

/** Fields of the uniform. */
export const LINEAR_PARAMS: readonly LinearParams[] = ["items", "first_output", "part_outputs", "first_matrix", "matrices"];

/** Access of each binding. */
export const LINEAR_BINDINGS: Readonly<Record<LinearBindings, "read" | "read_write">> = {
  weights: "read",
  scales: "read",
  routes: "read",
  x: "read",
  y: "read_write",
};

/** Bytes of so many input rows; of the last one only what is read. */
export function inputBytes({ layout: { columns }, inputStride, input }: Omit<InputConfig, "select">, rows: number): number {
  if (rows === 0) return 0;
  if (input === "rounded") return rows * columns * 2;
  return ((rows - 1) * inputStride + (input === "gated" ? 2 : 1) * columns) * 4;
}

/** What the WGSL of inputs depends on. */
export interface InputConfig extends Pick<LinearConfig, "inputStride" | "input" | "select"> {
  readonly layout: Pick<LinearConfig["layout"], "columns">;
}

/** `Input`, the element type of the binding `x`, and `input4(base, k4)`: four floats of the row that begins at float `base`, activated. */
export function inputWgsl({ inputStride, input, select, layout }: InputConfig): string {
  return constants({ INPUT_STRIDE: inputStride, ITEMS_PER_INPUT: itemsPerInput(select) }) + `const GATED = ${input === "gated"};\n` + inputSource +
    (readsVectors({ layout, inputStride }) ? inputVectors : inputFloats);
}

/** Whether input rows can be read four floats at a time. */
export function readsVectors({ layout, inputStride }: Pick<InputConfig, "layout" | "inputStride">): boolean {
  return layout.columns % 4 === 0 && inputStride % 4 === 0;
}

/** Least bytes of each binding; `routeWords` is how many words of routing data the kernel reads. */
export function linearSizes(config: LinearConfig, params: Params<LinearParams>, routeWords: number): Record<LinearBindings, number> {
  const rows = config.select.kind === "all" ? params.part_outputs : params.matrices * config.outputs;
  const inputs = ceilDiv(params.items, itemsPerInput(config.select));
  return {
    weights: rows * config.layout.rowBytes,
    scales: rows * config.layout.scaleRowBytes,
    routes: config.select.kind === "expert" ? routeWords * 4 : 0,
    x: inputBytes(config, inputs),
    y: params.items * config.outputs * 4,
  };
}
