/**
 * Absorbs the key up-projection into the queries of many rows, on matrix units, and rounds them to f16: for prefill that attends to latents.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import halves from "../authoring/halves.wgsl" with { type: "text" };
import { unroll } from "../authoring/unroll.ts";
import { cacheWidth, ropeOffset } from "../latent_cache/layout.ts";
import type { QueriesConfig } from "../latent_decode/queries.ts";
import { MOST_F16 } from "../linear/round_input.ts";
import source from "./absorb_units.wgsl" with { type: "text" };

/** Shapes. */
export interface AbsorbUnitsConfig {
  readonly heads: number;
  /** Columns of a head's query that are absorbed; those behind them have been rotated. */
  readonly nopeWidth: number;
  /** How the result lies. */
  readonly queries: QueriesConfig & { readonly dtype: "f16" };
}

const SUBGROUPS = 4;
/** Tiles of 16 columns of the latent that are computed at a time. */
const COLUMN_STEPS = 2;

/** Vectors of 16 bytes of workgroup memory: few enough that several workgroups fit a processor. */
function vectorsOf({ nopeWidth }: AbsorbUnitsConfig): number {
  const stride = nopeWidth / 8 | 1;
  const columns = COLUMN_STEPS * 16;
  return Math.max(SUBGROUPS * 16 * stride, columns * stride + SUBGROUPS * 16 * (columns / 4 + 1));
}

/** Tiles of 16 rows of a subgroup: two need half as many loads of weights, for twice the registers. */
function rowTilesOf(config: AbsorbUnitsConfig): number {
  return config.nopeWidth <= 128 ? 2 : 1;
}

/** Whether matrix units absorb queries of such sizes. @param workgroupLimit bytes of workgroup memory that the device allows */
export function absorbsOnUnits(config: AbsorbUnitsConfig, workgroupLimit: number): boolean {
  const { nopeWidth, queries: { keyWidth, ropeWidth } } = config;
  return nopeWidth % 16 === 0 && nopeWidth <= 256 && keyWidth % 8 === 0 && ropeWidth % 8 === 0 &&
    vectorsOf(config) * 16 <= workgroupLimit;
}

/**
 * weights: [key columns, heads, nopeWidth] in f16; x: [rows of the step, heads, nopeWidth + rotated], of the rows that begin with `first_row` → queries: [rows, heads,
 * cache width] in f16, each laid out as a slot of the cache is. The bits of a row do not depend on others.
 */
export const absorbUnits: Kernel<AbsorbUnitsConfig, "weights" | "x" | "queries", "rows" | "first_row"> = {
  name: "absorb_units",
  bindings: { weights: "read", x: "read", queries: "read_write" },
  params: ["rows", "first_row"],
  wgsl(config) {
    const { heads, nopeWidth, queries } = config;
    const numbers = {
      HEADS: heads,
      NOPE: nopeWidth,
      QUERY: nopeWidth + queries.ropeWidth,
      KEY_WIDTH: queries.keyWidth,
      ROPE_OFFSET: ropeOffset(queries),
      WIDTH: cacheWidth(queries),
      SUBGROUPS,
      ROW_TILES: rowTilesOf(config),
      STEPS: nopeWidth / 16,
      COLUMN_STEPS,
      WEIGHT_LOADS: ceilDiv(COLUMN_STEPS * 16 * nopeWidth / 8, SUBGROUPS * 32),
    };
    return constants(numbers) + halves + unroll(source, numbers);
  },
  workgroups: (config, { rows }) => [config.heads, ceilDiv(rows, SUBGROUPS * rowTilesOf(config) * 16), 1],
  sizes: ({ heads, nopeWidth, queries }, { rows, first_row }) => ({
    weights: queries.keyWidth * heads * nopeWidth * 2,
    x: (first_row + rows) * heads * (nopeWidth + queries.ropeWidth) * 4,
    queries: rows * heads * cacheWidth(queries) * 2,
  }),
  reference({ heads, nopeWidth, queries: layout }, { weights, x, queries }, { rows, first_row }) {
    const { keyWidth, ropeWidth } = layout;
    const rounded = (value: number) => Math.max(-MOST_F16, Math.min(MOST_F16, value));
    for (let item = 0; item < rows * heads; item++) {
      const from = (first_row * heads + item) * (nopeWidth + ropeWidth);
      const to = item * cacheWidth(layout);
      for (let column = 0; column < keyWidth; column++) {
        const row = (column * heads + item % heads) * nopeWidth;
        let sum = 0;
        for (let d = 0; d < nopeWidth; d++) sum += x.f32[from + d] * weights.f16[row + d];
        queries.f16[to + column] = rounded(sum);
      }
      for (let d = 0; d < ropeWidth; d++) queries.f16[to + ropeOffset(layout) + d] = rounded(x.f32[from + nopeWidth + d]);
    }
  },
};
