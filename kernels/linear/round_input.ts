/**
 * Rounds the inputs of a linear layer to f16 once, as matrix units take them: every tile of its outputs reads them again, and they are half as long, or a quarter
 * where they are gates and values.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import halves from "../authoring/halves.wgsl" with { type: "text" };
import { inputBytes, inputWgsl, type LinearConfig } from "./linear.ts";
import { gatherInputs } from "./reference.ts";
import source from "./round_input.wgsl" with { type: "text" };

/** Configuration of {@link roundInput}. */
export interface RoundInputConfig extends Pick<LinearConfig, "inputStride"> {
  /** Of a rounded row; divisible by 8. */
  readonly columns: number;
  readonly input: "plain" | "gated";
}

const THREADS = 64;
/** Rows in the second dimension of a dispatch, which WebGPU limits to 65,535; the others are in the third. */
const ROWS_DOWN = 32768;
/** What f16 can hold at most; what is rounded and greater becomes it. */
export const MOST_F16 = 65504;

/** x: [rows, inputStride] → y: [rows, columns] in f16. */
export const roundInput: Kernel<RoundInputConfig, "x" | "y", "rows"> = {
  name: "round_input",
  bindings: { x: "read", y: "read_write" },
  params: ["rows"],
  wgsl: ({ columns, inputStride, input }) =>
    constants({ THREADS, COLUMNS: columns, QUADS: 2, ROWS_DOWN }) + inputWgsl({ layout: { columns }, inputStride, input, select: { kind: "all" } }) +
    halves +
    source,
  workgroups: ({ columns }, { rows }) => [ceilDiv(columns / 8, THREADS), Math.min(rows, ROWS_DOWN), ceilDiv(rows, ROWS_DOWN)],
  sizes: ({ columns, inputStride, input }, { rows }) => ({
    x: inputBytes({ layout: { columns }, inputStride, input }, rows),
    y: inputBytes({ layout: { columns }, inputStride, input: "rounded" }, rows),
  }),
  reference({ columns, inputStride, input }, { x, y }, { rows }) {
    const items = Array.from({ length: rows }, (_, row) => row);
    const inputs = gatherInputs(x, items, { layout: { columns }, inputStride, input, select: { kind: "all" } });
    for (let i = 0; i < rows * columns; i++) y.f16[i] = Math.max(-MOST_F16, Math.min(MOST_F16, inputs[i]));
  },
};
