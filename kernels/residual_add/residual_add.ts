/**
 * Adds the last block's output to the residual stream; those before it are added where the next block's input is normalised (`add_rms_norm`).
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import source from "./residual_add.wgsl" with { type: "text" };

/** x += delta; both [rows, width]. */
export const residualAdd: Kernel<{ readonly width: number }, "delta" | "x", "rows"> = {
  name: "residual_add",
  bindings: { delta: "read", x: "read_write" },
  params: ["rows"],
  wgsl: ({ width }) => constants({ WIDTH: width }) + source,
  workgroups: ({ width }, { rows }) => [ceilDiv(width, 64), rows, 1],
  sizes: ({ width }, { rows }) => ({ delta: rows * width * 4, x: rows * width * 4 }),
  reference({ width }, { delta, x }, { rows }) {
    for (let i = 0; i < rows * width; i++) x.f32[i] += delta.f32[i];
  },
};
