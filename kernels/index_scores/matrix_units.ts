/**
 * Scores by index keys on matrix units (`chromium-experimental-subgroup-matrix`): keys are in f16, or widened to it, queries are rounded to it, products and sums are f32.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel, workgroupMemory } from "../authoring/contract.ts";
import halves from "../authoring/halves.wgsl" with { type: "text" };
import { fill, sectionsOf } from "../authoring/sections.ts";
import { unroll } from "../authoring/unroll.ts";
import { cacheTokenBytes } from "../latent_cache/layout.ts";
import { indexScores, type IndexScoresConfig } from "./index_scores.ts";
import keysF16 from "./keys_f16.wgsl" with { type: "text" };
import keysFp8 from "./keys_fp8.wgsl" with { type: "text" };
import source from "./matrix_units.wgsl" with { type: "text" };
import sumUnits from "./sum_units.wgsl" with { type: "text" };
import rowsSource from "./rows_units.wgsl" with { type: "text" };

/** Keys of a tile. */
const TOKENS = 16;
/** Registers of a thread that queries may take; 16 heads' 16 columns take 4. */
const QUERY_REGISTERS = 128;
/** Blocks of the cache that a workgroup has at most. */
const HELD_BLOCKS = 256;
/** As many workgroups as an H100 or H200 has at a time, eight on each of 132 processors: with some more, those would be waited for alone. */
const GROUPS = 1056;
/** Fewest blocks of a workgroup that is not the only one of its row: each reads the row's queries. */
const LEAST_BLOCKS = 1;

interface Layout {
  /** Parts of the heads, each of which a subgroup of 32 threads has. */
  readonly subgroups: number;
  /** How often each has 16 heads. */
  readonly rowTiles: number;
  /** Vectors of 16 bytes for keys, then products; before them queries. */
  readonly tiles: number;
  /** Bytes of workgroup memory. */
  readonly bytes: number;
}

/** Vectors of 16 bytes from one key's products to the next: such that the rows of a matrix that are stored together lie in different banks. */
function productStride(heads: number): number {
  return heads / 4 + 2;
}

function layOut({ heads, cache: { keyWidth } }: IndexScoresConfig): Layout {
  const subgroups = ceilDiv(heads * keyWidth / 64, QUERY_REGISTERS);
  const keyStride = keyWidth / 8 | 1;
  const tiles = Math.max(subgroups * 16 * keyStride, TOKENS * keyStride, TOKENS * productStride(heads));
  return { subgroups, rowTiles: heads / 16 / subgroups, tiles, bytes: workgroupMemory([tiles * 16, subgroups * TOKENS * 4, HELD_BLOCKS * 4]) };
}

/** Workgroups of each of `rows` rows, of which the longest has so many tokens or fewer. Scores are the same however many there are. */
function groupsOf(tokens: number, rows: number, blockTokens: number, groups: number): number {
  const blocks = ceilDiv(tokens, blockTokens);
  return Math.max(ceilDiv(blocks, HELD_BLOCKS), Math.min(Math.max(1, Math.floor(groups / rows)), ceilDiv(blocks, LEAST_BLOCKS)));
}

/** Whether matrix units take keys and queries of such sizes. @param workgroupLimit bytes of workgroup memory that the device allows */
export function scoresOnUnits(config: IndexScoresConfig, workgroupLimit: number): boolean {
  const { heads, cache: { dtype, keyWidth } } = config;
  if (dtype !== "f16" && dtype !== "fp8" || heads % 16 !== 0 || keyWidth % 16 !== 0) return false;
  const { subgroups, rowTiles, bytes } = layOut(config);
  // All threads read as much of a tile.
  return Number.isInteger(rowTiles) && keyWidth / (dtype === "fp8" ? 32 : 16) % subgroups === 0 && bytes <= workgroupLimit;
}

/** Rows of one sequence that share a tile of keys. */
const ROWS = 4;
/** As many workgroups of so many rows as an H100 or H200 has at a time. */
const ROW_GROUPS = 264;

/** Bytes of workgroup memory where rows share keys. */
function rowsBytes({ heads, cache: { keyWidth } }: IndexScoresConfig): number {
  const keyStride = keyWidth / 8 | 1;
  return workgroupMemory([TOKENS * keyStride * 16, ROWS * Math.max(TOKENS * productStride(heads), 16 * keyStride) * 16, HELD_BLOCKS * 4]);
}

/**
 * Whether rows of one sequence can share keys on matrix units: those of {@link scoresOnUnits} can whose heads one subgroup has.
 *
 * @param workgroupLimit bytes of workgroup memory that the device allows
 */
export function sharesKeys(config: IndexScoresConfig, workgroupLimit: number): boolean {
  const { cache: { dtype, keyWidth } } = config;
  return scoresOnUnits(config, workgroupLimit) && layOut(config).subgroups === 1 && rowsBytes(config) <= workgroupLimit &&
    TOKENS * keyWidth / (dtype === "fp8" ? 16 : 8) % (ROWS * 32) === 0;
}

/** As {@link indexScores}, of keys in f16 or fp8. */
export const indexScoresMatrix: typeof indexScores = {
  ...indexScores,
  // Keys are not written; the shader says what this is for.
  bindings: { ...indexScores.bindings, cache: "read_write" },
  wgsl(config) {
    const { subgroups, tiles } = layOut(config);
    const threads = subgroups * 32;
    return unitsWgsl(config, source, { threads, subgroups, products: "tiles" }, {
      THREADS: threads,
      SUBGROUPS: subgroups,
      TILES: tiles,
      QUERY_LOADS: 16 * subgroups * config.cache.keyWidth / 8 / threads,
    });
  },
  workgroups: ({ blockTokens }, { rows, tokens }) => [tokens === 0 ? 0 : groupsOf(tokens, rows, blockTokens, GROUPS), rows, 1],
  wasm: undefined,
} satisfies Kernel<IndexScoresConfig, string, string>;

/** As {@link indexScoresMatrix}, where rows are consecutive positions of one sequence, in their order, as those of a prefill chunk are: they share each tile of keys. */
export const indexScoresRows: typeof indexScores = {
  ...indexScoresMatrix,
  wgsl: (config) => unitsWgsl(config, rowsSource, { threads: ROWS * 32, subgroups: 1, products: "products" }, { ROWS }),
  workgroups({ blockTokens }, { rows, tokens }) {
    const shared = ceilDiv(rows, ROWS);
    return [tokens === 0 ? 0 : groupsOf(tokens, shared, blockTokens, ROW_GROUPS), shared, 1];
  },
};

/** A workgroup, and where it puts products. */
interface Workgroup {
  readonly threads: number;
  /** Parts of a row's heads. */
  readonly subgroups: number;
  readonly products: "tiles" | "products";
}

/** The source. @param numbers what else the shader counts */
function unitsWgsl(
  config: IndexScoresConfig,
  source: string,
  { threads, subgroups, products }: Workgroup,
  numbers: Readonly<Record<string, number>>,
): string {
  const { cache, blockTokens, heads, positions } = config;
  const keyVectors = cache.keyWidth / (cache.dtype === "fp8" ? 16 : 8);
  const quads = heads / 4 / subgroups;
  const parts = quads % 8 === 0 ? 8 : 4;
  const all = {
    ...numbers,
    HEADS: heads,
    WIDTH: cache.keyWidth,
    POSITIONS: positions,
    SLOT_VECTORS: cacheTokenBytes(cache) / 16,
    BLOCK_TOKENS: blockTokens,
    HELD_BLOCKS,
    TOKENS,
    ROW_TILES: layOut(config).rowTiles,
    PRODUCT_STRIDE: productStride(heads),
    PARTS: parts,
    QUAD_STEPS: quads / parts,
    STEPS: cache.keyWidth / 16,
    KEY_VECTORS: keyVectors,
    LOADS: TOKENS * keyVectors / threads,
  };
  const { exchange_4, exchange_2, ...summing } = sectionsOf(sumUnits.replaceAll("PRODUCTS", products));
  const sections = { ...summing, exchanged: parts === 8 ? exchange_4 : exchange_2, ...sectionsOf(cache.dtype === "fp8" ? keysFp8 : keysF16) };
  return constants(all) + halves + unroll(fill(source, sections), { ...all, KEYS_EACH: TOKENS * parts / 32 });
}
