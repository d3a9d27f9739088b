/**
 * Rotary position embedding, in place. YaRN changes only the table (core/model/rope.ts).
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../contract.ts";
import source from "./rope.wgsl" with { type: "text" };

/** Where the rotated parts lie: row r, head h begins at r · rowStride + h · headStride + offset. */
export interface RopeConfig {
  readonly heads: number;
  readonly rowStride: number;
  readonly headStride: number;
  readonly offset: number;
  /** Rotated floats per head; even. */
  readonly width: number;
  /** Pairs are (2i, 2i+1) if true, (i, i + width/2) otherwise. */
  readonly interleaved: boolean;
  /** Rows of the table. */
  readonly positions: number;
}

/** Rotates pair i of every head by the angle of the row's position. `table`: [positions, width/2, 2]; `step`: [rows, 4] words, the position second. */
export const rope: Kernel<RopeConfig, "step" | "table" | "x", "rows"> = {
  name: "rope",
  bindings: { step: "read", table: "read", x: "read_write" },
  params: ["rows"],
  wgsl: (config) =>
    constants({
      HEADS: config.heads,
      ROW_STRIDE: config.rowStride,
      HEAD_STRIDE: config.headStride,
      OFFSET: config.offset,
      WIDTH: config.width,
      PAIR_STEP: config.interleaved ? 2 : 1,
      PAIR_DISTANCE: config.interleaved ? 1 : config.width / 2,
    }) + source,
  workgroups: ({ heads, width }, { rows }) => [ceilDiv(heads * width / 2, 64), rows, 1],
  sizes: (config, { rows }) => ({
    step: rows * 16,
    table: config.positions * config.width * 4,
    x: rows === 0 ? 0 : ((rows - 1) * config.rowStride + (config.heads - 1) * config.headStride + config.offset + config.width) * 4,
  }),
  reference(config, { step, table, x }, { rows }) {
    const pairs = config.width / 2;
    const [pairStep, distance] = config.interleaved ? [2, 1] : [1, pairs];
    for (let row = 0; row < rows; row++) {
      const turns = step.u32[row * 4 + 1] * config.width;
      for (let head = 0; head < config.heads; head++) {
        const base = row * config.rowStride + head * config.headStride + config.offset;
        for (let pair = 0; pair < pairs; pair++) {
          const a = base + pair * pairStep;
          const [cos, sin] = [table.f32[turns + pair * 2], table.f32[turns + pair * 2 + 1]];
          const [first, second] = [x.f32[a], x.f32[a + distance]];
          x.f32[a] = first * cos - second * sin;
          x.f32[a + distance] = second * cos + first * sin;
        }
      }
    }
  },
};
