/**
 * Decode attention on matrix units (`chromium-experimental-subgroup-matrix`): f16 queries, latents and weights, f32 scores and sums.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../contract.ts";
import { BLOCK_TOKENS, cacheWidth } from "../latent_cache/layout.ts";
import { unroll } from "../unroll.ts";
import {
  attendRows,
  LATENT_DECODE_BINDINGS,
  type LatentDecodeBindings,
  type LatentDecodeConfig,
  latentDecodeSizes,
  queriesOf,
} from "./latent_decode.ts";
import { MOST_HEADS_AT_ONCE } from "./queries.ts";
import source from "./matrix_units.wgsl" with { type: "text" };
import { partialWidth, SPLITS_WGSL } from "./splits.ts";

/** How a workgroup is divided into subgroups of 32. */
export interface Division {
  /** Tiles of 16 heads. */
  readonly headTiles: number;
  /** For the scores, parts of a tile's tokens and of its columns; together they divide the value columns. */
  readonly tokenParts: number;
  readonly widthParts: number;
  /** Latents per tile; divides a block of the cache. */
  readonly tokens: number;
  /** Tiles that are read ahead. */
  readonly ahead: number;
}

/** Configuration of {@link latentDecodeMatrix}. */
export interface LatentDecodeMatrixConfig extends LatentDecodeConfig {
  readonly division: Division;
}

/** As {@link latentDecode}, with queries in f16. */
export const latentDecodeMatrix: Kernel<LatentDecodeMatrixConfig, LatentDecodeBindings, "rows" | "splits"> = {
  name: "latent_decode",
  bindings: LATENT_DECODE_BINDINGS,
  params: ["rows", "splits"],
  wgsl(config) {
    const { heads, valueOffset, valueWidth, division: { headTiles, tokenParts, widthParts, tokens, ahead } } = config;
    const width = cacheWidth(config.cache);
    const threads = headTiles * tokenParts * widthParts * 32;
    const lanes = threads / (headTiles * 16);
    const numbers = {
      HEADS: heads,
      CACHE_WIDTH: width,
      VALUE_OFFSET: valueOffset,
      VALUE_WIDTH: valueWidth,
      PARTIAL_WIDTH: partialWidth(valueWidth),
      BLOCK_TOKENS,
      HEAD_TILES: headTiles,
      TOKEN_PARTS: tokenParts,
      WIDTH_PARTS: widthParts,
      OTHER_WIDTH_PARTS: widthParts - 1,
      TOKENS: tokens,
      TOKEN_TILES: tokens / 16,
      AHEAD: ahead,
      SCORE_PADDING: scorePadding(config.division),
      WIDTH_STEPS: width / 16 / widthParts,
      TOKEN_STEPS: tokens / 16 / tokenParts,
      COLUMN_STEPS: ceilDiv(valueWidth / 16, tokenParts * widthParts),
      LOADS: ceilDiv(tokens * width / 8, threads),
      LANES: lanes,
      EACH: tokens / lanes,
    };
    return constants(numbers, { SCALE: config.scale }) + SPLITS_WGSL + unroll(source, numbers);
  },
  workgroups: ({ heads, division }, { rows, splits }) => [splits, ceilDiv(heads, division.headTiles * 16), rows],
  sizes: (config, { rows }) => latentDecodeSizes(config, rows, queriesOf(config, "f16")),
  reference: (config, buffers, { rows }) => attendRows(config, buffers, rows, queriesOf(config, "f16")),
};

/** Floats between rows of scores beyond their tokens: few heads need the memory, for one more workgroup, more than rows in different banks. */
function scorePadding({ headTiles }: Division): number {
  return headTiles <= 2 ? 0 : 4;
}

/** Bytes of workgroup memory, as the shader lays it out. */
function workgroupBytes(config: LatentDecodeConfig, division: Division): number {
  const { headTiles, tokenParts, widthParts, tokens } = division;
  const rows = headTiles * 16;
  const scores = Math.max(widthParts * rows * (tokens + scorePadding(division)), headTiles * tokenParts * widthParts * 256);
  return tokens * (cacheWidth(config.cache) + 8) * 2 + scores * 4 + rows * (tokens + 8) * 2 + rows * 4 + 16;
}

/**
 * By tiles of heads, the best first as far as that was measured (bench/NOTES.md). Vulkan gives a processor of an H100 48 KiB of workgroup memory for all the
 * workgroups on it, so that small tiles keep more
 * workgroups, and with them more reads, under way than large ones do.
 */
const DIVISIONS: readonly Division[] = [
  { headTiles: 1, tokenParts: 1, widthParts: 4, tokens: 16, ahead: 3 },
  { headTiles: 1, tokenParts: 1, widthParts: 2, tokens: 16, ahead: 2 },
  { headTiles: 2, tokenParts: 1, widthParts: 2, tokens: 16, ahead: 3 },
  { headTiles: 4, tokenParts: 1, widthParts: 1, tokens: 16, ahead: 1 },
  { headTiles: 4, tokenParts: 1, widthParts: 2, tokens: 16, ahead: 1 },
  { headTiles: 8, tokenParts: 1, widthParts: 1, tokens: 16, ahead: 1 },
  { headTiles: 1, tokenParts: 1, widthParts: 1, tokens: 16, ahead: 1 },
];

/**
 * How to divide the work of these shapes; null if matrix units cannot do it.
 *
 * @param workgroupLimit bytes of workgroup memory that the device allows
 */
export function divideForMatrixUnits(config: LatentDecodeConfig, workgroupLimit: number): Division | null {
  const width = cacheWidth(config.cache);
  if (config.cache.dtype !== "f16" || width % 16 !== 0 || config.valueOffset % 8 !== 0 || config.valueWidth % 16 !== 0) return null;
  const fits = (division: Division) => width / 16 % division.widthParts === 0 && workgroupBytes(config, division) <= workgroupLimit;
  const possible = DIVISIONS.filter(fits);
  // As many heads at a time as there are, so that a tile of latents is read once; otherwise the most that can be.
  const mostTiles = MOST_HEADS_AT_ONCE / 16;
  const wanted = [1, 2, 4].find((tiles) => tiles * 16 >= config.heads) ?? mostTiles;
  return possible.find(({ headTiles }) => headTiles === wanted) ?? possible.find(({ headTiles }) => headTiles < wanted) ?? null;
}
