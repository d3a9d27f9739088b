/**
 * The gated activation of every feed-forward layer.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../contract.ts";
import source from "./silu_mul.wgsl" with { type: "text" };

/** y[row, k] = silu(gate_up[row, k]) · gate_up[row, width + k]; gate_up: [rows, 2 · width], y: [rows, width]. */
export const siluMul: Kernel<{ readonly width: number }, "gate_up" | "y", "rows"> = {
  name: "silu_mul",
  bindings: { gate_up: "read", y: "read_write" },
  params: ["rows"],
  wgsl: ({ width }) => constants({ WIDTH: width }) + source,
  workgroups: ({ width }, { rows }) => [ceilDiv(width, 64), rows, 1],
  sizes: ({ width }, { rows }) => ({ gate_up: rows * width * 8, y: rows * width * 4 }),
  reference({ width }, { gate_up, y }, { rows }) {
    for (let row = 0; row < rows; row++) {
      for (let k = 0, from = row * 2 * width; k < width; k++) {
        const gate = gate_up.f32[from + k];
        y.f32[row * width + k] = gate / (1 + Math.exp(-gate)) * gate_up.f32[from + width + k];
      }
    }
  },
};
