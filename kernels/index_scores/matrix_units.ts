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

function layOut({ heads, cache: { keyWidth } }: IndexScoresConfig): Layout {
  const subgroups = ceilDiv(heads * keyWidth / 64, QUERY_REGISTERS);
  const keyStride = keyWidth / 8 | 1;
  const tiles = Math.max(subgroups * 16 * keyStride, TOKENS * keyStride, heads * TOKENS / 4);
  return { subgroups, rowTiles: heads / 16 / subgroups, tiles, bytes: workgroupMemory([tiles * 16, subgroups * TOKENS * 4, HELD_BLOCKS * 4]) };
}

/** Workgroups of each of `rows` rows, of which the longest has so many tokens or fewer. Scores are the same however many there are. */
function groupsOf(tokens: number, rows: number, blockTokens: number): number {
  const blocks = ceilDiv(tokens, blockTokens);
  return Math.max(ceilDiv(blocks, HELD_BLOCKS), Math.min(Math.max(1, Math.floor(GROUPS / rows)), ceilDiv(blocks, LEAST_BLOCKS)));
}

/** Whether matrix units take keys and queries of such sizes. @param workgroupLimit bytes of workgroup memory that the device allows */
export function scoresOnUnits(config: IndexScoresConfig, workgroupLimit: number): boolean {
  const { heads, cache: { dtype, keyWidth } } = config;
  if (dtype !== "f16" && dtype !== "fp8" || heads % 16 !== 0 || keyWidth % 16 !== 0) return false;
  const { subgroups, rowTiles, bytes } = layOut(config);
  // All threads read as much of a tile.
  return Number.isInteger(rowTiles) && keyWidth / (dtype === "fp8" ? 32 : 16) % subgroups === 0 && bytes <= workgroupLimit;
}

/** As {@link indexScores}, of keys in f16 or fp8. */
export const indexScoresMatrix: typeof indexScores = {
  ...indexScores,
  // Keys are not written; the shader says what this is for.
  bindings: { ...indexScores.bindings, cache: "read_write" },
  wgsl(config) {
    const { cache, blockTokens, heads, positions } = config;
    const { subgroups, rowTiles, tiles } = layOut(config);
    const threads = subgroups * 32;
    const keyVectors = cache.keyWidth / (cache.dtype === "fp8" ? 16 : 8);
    const numbers = {
      HEADS: heads,
      WIDTH: cache.keyWidth,
      POSITIONS: positions,
      SLOT_VECTORS: cacheTokenBytes(cache) / 16,
      BLOCK_TOKENS: blockTokens,
      HELD_BLOCKS,
      THREADS: threads,
      SUBGROUPS: subgroups,
      TOKENS,
      TILES: tiles,
      LANE_HEADS: heads * TOKENS / 4 / threads,
      ROW_TILES: rowTiles,
      QUERY_LOADS: 16 * subgroups * cache.keyWidth / 8 / threads,
      STEPS: cache.keyWidth / 16,
      KEY_VECTORS: keyVectors,
      LOADS: TOKENS * keyVectors / threads,
    };
    const filled = fill(source, sectionsOf(cache.dtype === "fp8" ? keysFp8 : keysF16));
    return constants(numbers) + halves + unroll(filled, numbers);
  },
  workgroups: ({ blockTokens }, { rows, tokens }) => [tokens === 0 ? 0 : groupsOf(tokens, rows, blockTokens), rows, 1],
  wasm: undefined,
} satisfies Kernel<IndexScoresConfig, string, string>;
