/**
 * Decode attention on matrix units (`chromium-experimental-subgroup-matrix`): queries, latents and weights in f16, scores and sums in f32.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { cacheWidth } from "../latent_cache/layout.ts";
import { q8SlotOf, scaleGroupWgsl, wholeVectors } from "../latent_cache/q8.ts";
import referenceShift from "../authoring/reference_shift.wgsl" with { type: "text" };
import { fill, sectionsOf } from "../authoring/sections.ts";
import { unroll } from "../authoring/unroll.ts";
import {
  attendRows,
  LATENT_DECODE_BINDINGS,
  type LatentDecodeBindings,
  type LatentDecodeConfig,
  latentDecodeSizes,
  queriesOf,
} from "./latent_decode.ts";
import source from "./matrix_units.wgsl" with { type: "text" };
import { DEFAULT_SPLITTING, partialWidth, splitsWgsl, type Splitting } from "./splits.ts";
import slotsF16 from "./slots_f16.wgsl" with { type: "text" };
import slotsQ8 from "./slots_q8.wgsl" with { type: "text" };
import tilesApart from "./tiles_apart.wgsl" with { type: "text" };
import tilesInTurn from "./tiles_in_turn.wgsl" with { type: "text" };

/** How a workgroup is divided into subgroups of 32. */
export interface Division {
  /** Parts of the heads. */
  readonly headParts: number;
  /** Tiles of 16 heads in each part: a subgroup that has several loads the latents from workgroup memory once for them all. */
  readonly rowTiles: number;
  /** For the scores, parts of a tile's tokens and of its columns; together they divide the value columns. */
  readonly tokenParts: number;
  readonly widthParts: number;
  /** Latents per tile; divides a strip (splits.ts). */
  readonly tokens: number;
  /** Tiles that are read ahead. */
  readonly ahead: number;
  /** Whether latents and scores are in two tiles of workgroup memory in turn (tiles_in_turn.wgsl); by default each has a place of its own (tiles_apart.wgsl). */
  readonly inTurn?: boolean;
  /** Whether, of tiles apart of which one is read ahead, what moves a softmax's reference is outside the loop over them; by default it is a branch inside. */
  readonly movesOutside?: boolean;
}

/** Strips whose blocks a workgroup has at hand. */
const HELD_STRIPS = 32;
/** Vectors of eight columns that neighbouring threads read together where tiles are in turn. */
const SPAN = 8;

/** What decode attention computes, however it is split. */
export type AttentionShape = Omit<LatentDecodeConfig, keyof Splitting>;

/** Configuration of {@link latentDecodeMatrix}. */
export interface LatentDecodeMatrixConfig extends LatentDecodeConfig {
  readonly division: Division;
}

/** As {@link latentDecode}, with queries in f16. */
export const latentDecodeMatrix: Kernel<LatentDecodeMatrixConfig, LatentDecodeBindings, "rows" | "splits"> = {
  name: "latent_decode",
  // The cache is not written; the shader says what this is for.
  bindings: { ...LATENT_DECODE_BINDINGS, cache: "read_write" },
  params: ["rows", "splits"],
  wgsl(config) {
    const { heads, valueOffset, valueWidth, division: { headParts, rowTiles, tokenParts, widthParts, tokens, ahead, inTurn, movesOutside } } = config;
    const width = cacheWidth(config.cache);
    const threads = headParts * tokenParts * widthParts * 32;
    const lanes = threads / (headParts * rowTiles * 16);
    const numbers = {
      HEADS: heads,
      CACHE_WIDTH: width,
      VALUE_OFFSET: valueOffset,
      VALUE_WIDTH: valueWidth,
      PARTIAL_WIDTH: partialWidth(valueWidth),
      BLOCK_TOKENS,
      HEAD_PARTS: headParts,
      ROW_TILES: rowTiles,
      TOKEN_PARTS: tokenParts,
      WIDTH_PARTS: widthParts,
      OTHER_WIDTH_PARTS: widthParts - 1,
      TOKENS: tokens,
      TOKEN_TILES: tokens / 16,
      AHEAD: ahead,
      INSIDE: movesOutside ? 0 : 1,
      SCORE_PADDING: scorePadding(config.division),
      WIDTH_STEPS: width / 16 / widthParts,
      TOKEN_STEPS: tokens / 16 / tokenParts,
      COLUMN_STEPS: ceilDiv(valueWidth / 16, tokenParts * widthParts),
      LOADS: ceilDiv(tokens * loadedVectors(config), threads),
      LANES: lanes,
      PAIRS: tokens / lanes / 2,
      QUADS: inTurn ? tokens / lanes / 4 : 0,
      WHOLE_TILES: heads % 16 === 0 ? 1 : 0,
      RAGGED_TILES: heads % 16 === 0 ? 0 : 1,
      QUERY_LOADS: ceilDiv(2 * width, threads),
      HELD_STRIPS,
      SPAN,
    };
    const sections = sectionsOf(inTurn ? tilesInTurn : tilesApart);
    const tiles = movesOutside ? sections.tiles_outside : sections.tiles;
    return constants(numbers, { SCALE: config.scale * Math.LOG2E, LN_2: Math.LN2 }) + splitsWgsl(config) +
      unroll(fill(source, { ...sections, tiles, slots: slotsWgsl(config), reference_shift: referenceShift }), numbers);
  },
  workgroups: ({ heads, division }, { rows, splits }) => [splits, ceilDiv(heads, headsOf(division)), rows],
  sizes: (config, { rows }) => latentDecodeSizes(config, rows, queriesOf(config, "f16")),
  reference: (config, buffers, { rows }) => attendRows(config, buffers, rows, queriesOf(config, "f16")),
};

/** Vectors of 16 bytes of a token that are fetched. */
function loadedVectors({ cache }: Pick<LatentDecodeConfig, "cache">): number {
  return cache.dtype === "q8" ? q8SlotOf(cache).scales / 16 : cacheWidth(cache) / 8;
}

/** How latents come into workgroup memory, in f16. */
function slotsWgsl({ cache }: LatentDecodeConfig): string {
  if (cache.dtype !== "q8") return slotsF16;
  const { rope, scales, bytes } = q8SlotOf(cache);
  return constants({ KEY_VECTORS: rope / 16, ROPE_VECTORS: (scales - rope) / 16, SLOT_VECTORS: bytes / 16 }) + scaleGroupWgsl(cache) + slotsQ8;
}

/** Floats between rows of scores beyond their tokens: few heads need the memory, for one more workgroup, more than rows in different banks. */
function scorePadding(division: Division): number {
  return headsOf(division) <= 32 ? 0 : 8;
}

/** Heads of a workgroup. */
function headsOf({ headParts, rowTiles }: Division): number {
  return headParts * rowTiles * 16;
}

/** Bytes of workgroup memory, as the shader lays it out. */
function workgroupBytes(config: Pick<LatentDecodeConfig, "cache">, division: Division): number {
  const { headParts, tokenParts, widthParts, tokens, inTurn } = division;
  const rows = headsOf(division);
  const latents = tokens * (cacheWidth(config.cache) + 8) * 2;
  const scores = Math.max(widthParts * rows * (tokens + scorePadding(division)), headParts * tokenParts * widthParts * 256) * 4;
  return (inTurn ? 2 * Math.max(latents, scores) : latents + scores) + rows * (tokens + 8) * 2 + rows * 4 + HELD_STRIPS * 4 + 4;
}

/** Whether these shapes can be divided so; tiles_in_turn.wgsl is for whole matrices, two of them per tile, and for threads that all do the same. */
function divides(division: Division, { heads, cache, valueWidth }: AttentionShape): boolean {
  const { headParts, tokenParts, widthParts, tokens, inTurn } = division;
  const width = cacheWidth(cache);
  if (width / 16 % widthParts !== 0) return false;
  if (!inTurn) return true;
  // There, latents are stored beside products, which leaves no time to widen them.
  if (cache.dtype !== "f16") return false;
  const threads = headParts * tokenParts * widthParts * 32;
  const sameVectors = threads === tokens * SPAN && width % (8 * SPAN) === 0;
  return tokens === 32 && heads % 16 === 0 && valueWidth / 16 % (tokenParts * widthParts) === 0 && sameVectors;
}

/** Workgroup memory that the workgroups on one processor of an H100 or H200 share: what Vulkan gives each of them at most is all there is. */
const PROCESSOR_BYTES = 49152;
/** Splits for each workgroup that fits a processor. */
const SPLITS_PER_WORKGROUP = 8;
/** Rows from which on the fewest splits of each occupy a device; where there are never as many, a row has more. */
const MANY_ROWS = 8;
const LEAST_SPLITS = { few: 24, many: 16 } as const;
/** Fewest tokens of a split of a long row: with fewer, its splits would take notably longer where a device has enough of them. */
const LONG_TOKENS = { few: 512, many: 1024 } as const;
/** Splits beyond which a row that is alone gains nothing: as many workgroups as a card has processors. Merging them takes its time, too. */
const MOST_SPLITS = 128;
/** Bytes of what all splits of all rows leave, where rows have more splits than usual. */
const MOST_PARTIAL_BYTES = 2 ** 29;

/**
 * How to split rows for such workgroups. They run in waves, and the last one is seldom full: at batch 16, 8 splits for each workgroup that fits one of the 132
 * processors of an H100 or H200 make 0.97 waves whatever the division is, where a number that fits another division may make 1.1, which takes as long as 2. Where
 * that is fewer than {@link LEAST_SPLITS}, it is doubled. Each split costs some microseconds, whatever its length.
 *
 * Where tiles are in turn and rows are many, a strip is a whole block of the cache, so that every other tile lies where the one before it did: where blocks lie
 * anywhere, that is 1 % less time on an H100 (bench/NOTES.md).
 *
 * A long row has more of them, since it may be alone, and then its splits are all that a device has to do. How many depends on nothing but its own length, so that
 * sixteen long rows have them, too, and take some per cent longer for it.
 *
 * @param rows most rows there will be, not how many there are: what a row comes to may not depend on what else is in the batch
 * @param context the longest of them
 */
export function splittingFor(config: AttentionShape, division: Division, rows: number, context: number): Splitting {
  const number = rows >= MANY_ROWS ? "many" : "few";
  const longTokens = LONG_TOKENS[number];
  let usualSplits = SPLITS_PER_WORKGROUP * Math.min(6, Math.max(1, Math.floor(PROCESSOR_BYTES / workgroupBytes(config, division))));
  while (usualSplits < LEAST_SPLITS[number]) usualSplits *= 2;
  const bytes = rows * config.heads * partialWidth(config.cache.keyWidth) * 4;
  let mostSplits = usualSplits;
  while (2 * mostSplits <= MOST_SPLITS && 2 * mostSplits * bytes <= MOST_PARTIAL_BYTES && context >= 2 * mostSplits * longTokens) mostSplits *= 2;
  const stripTokens = number === "many" && division.inTurn ? BLOCK_TOKENS : DEFAULT_SPLITTING.stripTokens;
  return { usualSplits, mostSplits, longTokens, stripTokens };
}

/** Divisions by how many heads they take and up to which width of a latent, the best first as far as that was measured (bench/NOTES.md). */
const DIVISIONS: readonly { readonly widest: number; readonly division: Division }[] = [
  { widest: 192, division: { headParts: 1, rowTiles: 1, tokenParts: 2, widthParts: 1, tokens: 32, ahead: 2 } },
  { widest: 256, division: { headParts: 1, rowTiles: 1, tokenParts: 1, widthParts: 4, tokens: 16, ahead: 1 } },
  { widest: 384, division: { headParts: 1, rowTiles: 1, tokenParts: 1, widthParts: 2, tokens: 16, ahead: 2 } },
  { widest: Infinity, division: { headParts: 1, rowTiles: 1, tokenParts: 1, widthParts: 4, tokens: 16, ahead: 2 } },
  { widest: Infinity, division: { headParts: 1, rowTiles: 1, tokenParts: 1, widthParts: 2, tokens: 16, ahead: 2 } },
  { widest: Infinity, division: { headParts: 2, rowTiles: 1, tokenParts: 1, widthParts: 4, tokens: 16, ahead: 1 } },
  { widest: Infinity, division: { headParts: 2, rowTiles: 1, tokenParts: 1, widthParts: 2, tokens: 16, ahead: 1 } },
  { widest: 320, division: { headParts: 2, rowTiles: 2, tokenParts: 2, widthParts: 2, tokens: 32, ahead: 1, inTurn: true } },
  { widest: 320, division: { headParts: 2, rowTiles: 2, tokenParts: 2, widthParts: 2, tokens: 32, ahead: 1 } },
  { widest: Infinity, division: { headParts: 2, rowTiles: 2, tokenParts: 1, widthParts: 4, tokens: 16, ahead: 1, movesOutside: true } },
  { widest: Infinity, division: { headParts: 4, rowTiles: 1, tokenParts: 1, widthParts: 2, tokens: 16, ahead: 1 } },
  { widest: Infinity, division: { headParts: 4, rowTiles: 1, tokenParts: 1, widthParts: 1, tokens: 16, ahead: 1 } },
  { widest: Infinity, division: { headParts: 1, rowTiles: 1, tokenParts: 1, widthParts: 1, tokens: 16, ahead: 1 } },
];

/**
 * How to divide the work of these shapes; null if matrix units cannot do it.
 *
 * @param workgroupLimit bytes of workgroup memory that the device allows
 */
export function divideForMatrixUnits(config: AttentionShape, workgroupLimit: number): Division | null {
  const width = cacheWidth(config.cache);
  const { cache } = config;
  if (cache.dtype === "f32" || cache.dtype === "q8" && !(cache.keyWidth % 16 === 0 && wholeVectors(cache))) return null;
  if (width % 16 !== 0 || config.valueOffset % 8 !== 0 || config.valueWidth % 16 !== 0) return null;
  const fits = (division: Division) => divides(division, config) && workgroupBytes(config, division) <= workgroupLimit;
  const possible = DIVISIONS.filter(({ widest, division }) => width <= widest && fits(division)).map(({ division }) => division);
  // As many heads at a time as there are, so that a tile of latents is read once; otherwise the most that can be.
  const heads = possible.map(headsOf);
  const enough = heads.filter((heads) => heads >= config.heads);
  const wanted = enough.length > 0 ? Math.min(...enough) : Math.max(...heads);
  return possible.find((division) => headsOf(division) === wanted) ?? null;
}
