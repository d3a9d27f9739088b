/**
 * Adds a layer's output to the residual stream. A kernel of its own because with several ranks the all-reduce comes between.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../contract.ts";
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
