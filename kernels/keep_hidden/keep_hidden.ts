/**
 * Keeps hidden states, as logits are made of them, for steps to come.
 *
 * @module
 */
import { constants, type Kernel } from "../authoring/contract.ts";
import { rmsScale, rowWgsl, valuesPerRead } from "../rms_norm/rms_norm.ts";
import source from "./keep_hidden.wgsl" with { type: "text" };

/** A row that is not kept. */
export const NOT_KEPT = 0xffffffff;

/** Width of the residual stream, epsilon of its norm, and how many rows there is room for. */
export interface KeepHiddenConfig {
  readonly width: number;
  readonly eps: number;
  readonly capacity: number;
}

/** kept[place] = norm(x[row]) · gamma, with the second word of `places`, [rows, 2], unless that is {@link NOT_KEPT}. x: [rows, width]; kept: [capacity, width]. */
export const keepHidden: Kernel<KeepHiddenConfig, "x" | "gamma" | "places" | "kept", "rows"> = {
  name: "keep_hidden",
  bindings: { x: "read", gamma: "read", places: "read", kept: "read_write" },
  params: ["rows"],
  wgsl: ({ capacity, ...row }) => constants({ CAPACITY: capacity }) + rowWgsl(row, valuesPerRead(row.width)) + source,
  workgroups: (_, { rows }) => [rows, 1, 1],
  sizes: ({ width, capacity }, { rows }) => ({ x: rows * width * 4, gamma: width * 4, places: rows * 8, kept: capacity * width * 4 }),
  reference({ width, eps, capacity }, { x, gamma, places, kept }, { rows }) {
    for (let row = 0; row < rows; row++) {
      const place = places.u32[row * 2 + 1];
      if (place >= capacity) continue;
      const scale = rmsScale(x.f32, row * width, width, eps);
      for (let k = 0; k < width; k++) kept.f32[place * width + k] = x.f32[row * width + k] * scale * gamma.f32[k];
    }
  },
};
