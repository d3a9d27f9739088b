/**
 * Adds a block's output to the residual stream and normalises it for the next block.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../contract.ts";
import { unroll } from "../unroll.ts";
import source from "./add_rms_norm.wgsl" with { type: "text" };
import { inverseRmsWgsl, NORM_THREADS, rmsNorm, type RmsNormConfig } from "./rms_norm.ts";

/** x += delta; y = x / √(mean(x²) + eps) · gamma, row by row; all [rows, width]. */
export const addRmsNorm: Kernel<Omit<RmsNormConfig, "inputStride">, "x" | "delta" | "gamma" | "y", "rows"> = {
  name: "add_rms_norm",
  bindings: { x: "read_write", delta: "read", gamma: "read", y: "read_write" },
  params: ["rows"],
  wgsl: ({ width, eps }) =>
    constants({ WIDTH: width }, { EPS: eps }) + inverseRmsWgsl(NORM_THREADS) + unroll(source, { EACH: ceilDiv(width, NORM_THREADS) }),
  workgroups: (_, { rows }) => [rows, 1, 1],
  sizes: ({ width }, { rows }) => ({ x: rows * width * 4, delta: rows * width * 4, gamma: width * 4, y: rows * width * 4 }),
  reference({ width, eps }, { x, delta, gamma, y }, { rows }) {
    for (let i = 0; i < rows * width; i++) x.f32[i] += delta.f32[i];
    rmsNorm.reference({ width, inputStride: width, eps }, { x, gamma, y }, { rows, first_row: 0 });
  },
};
