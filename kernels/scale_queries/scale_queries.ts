/**
 * Multiplies queries by a factor of their position, of models that sharpen attention as contexts grow.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import source from "./scale_queries.wgsl" with { type: "text" };

/** Floats of a row, all heads together, and positions that there are factors for. */
export interface ScaleQueriesConfig {
  readonly width: number;
  readonly positions: number;
}

/** q *= factors[position of row]; q: [rows, width], factors: [positions]; `step` is [rows, 4] words, the position second. */
export const scaleQueries: Kernel<ScaleQueriesConfig, "factors" | "step" | "q", "rows"> = {
  name: "scale_queries",
  bindings: { factors: "read", step: "read", q: "read_write" },
  params: ["rows"],
  wgsl: ({ width }) => constants({ WIDTH: width }) + source,
  workgroups: ({ width }, { rows }) => [ceilDiv(width, 64), rows, 1],
  sizes: ({ width, positions }, { rows }) => ({ factors: positions * 4, step: rows * 16, q: rows * width * 4 }),
  reference({ width }, { factors, step, q }, { rows }) {
    for (let row = 0; row < rows; row++) {
      const factor = factors.f32[step.u32[row * 4 + 1]];
      for (let k = row * width; k < (row + 1) * width; k++) q.f32[k] *= factor;
    }
  },
};
