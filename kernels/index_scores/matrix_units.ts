/**
 * Scores by index keys on matrix units (`chromium-experimental-subgroup-matrix`): keys are in f16, queries are rounded to it, products and sums are f32.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel, workgroupMemory } from "../authoring/contract.ts";
import halves from "../authoring/halves.wgsl" with { type: "text" };
import { unroll } from "../authoring/unroll.ts";
import { cacheTokenBytes } from "../latent_cache/layout.ts";
import { indexScores, type IndexScoresConfig } from "./index_scores.ts";
import source from "./matrix_units.wgsl" with { type: "text" };

/** Keys of a tile. */
const TOKENS = 32;
/** Tokens of a workgroup: queries are taken in once for all of them. */
const STRIP = 512;
/** Most subgroups of 32 threads, which share the heads. */
const MOST_SUBGROUPS = 4;

interface Layout {
  /** Subgroups, and how often each has 16 heads. */
  readonly subgroups: number;
  readonly rowTiles: number;
  /** Vectors of 16 bytes for keys and products, or queries. */
  readonly tiles: number;
  /** Bytes of workgroup memory. */
  readonly bytes: number;
}

function layOut({ heads, cache: { keyWidth } }: IndexScoresConfig): Layout {
  const subgroups = Math.min(MOST_SUBGROUPS, heads / 16);
  const keyStride = keyWidth / 8 | 1;
  const tiles = Math.max(heads * keyStride, TOKENS * keyStride + heads * (TOKENS / 4 + 1));
  return { subgroups, rowTiles: heads / 16 / subgroups, tiles, bytes: workgroupMemory([tiles * 16, heads * 4, subgroups * 32 * 16]) };
}

/** Whether matrix units take keys and queries of such sizes. @param workgroupLimit bytes of workgroup memory that the device allows */
export function scoresOnUnits(config: IndexScoresConfig, workgroupLimit: number): boolean {
  const { heads, cache: { dtype, keyWidth } } = config;
  if (dtype !== "f16" || heads % 16 !== 0 || keyWidth % 16 !== 0) return false;
  const { rowTiles, bytes } = layOut(config);
  // A thread keeps queries of 16 heads, 4 registers for 16 columns.
  return Number.isInteger(rowTiles) && rowTiles * keyWidth / 4 <= 128 && bytes <= workgroupLimit;
}

/** As {@link indexScores}, of keys in f16. */
export const indexScoresMatrix: typeof indexScores = {
  ...indexScores,
  // Keys are not written; the shader says what this is for.
  bindings: { ...indexScores.bindings, cache: "read_write" },
  wgsl(config) {
    const { cache, heads, positions } = config;
    const { subgroups, rowTiles, tiles } = layOut(config);
    const threads = subgroups * 32;
    const numbers = {
      HEADS: heads,
      WIDTH: cache.keyWidth,
      POSITIONS: positions,
      SLOT_VECTORS: cacheTokenBytes(cache) / 16,
      BLOCK_TOKENS,
      THREADS: threads,
      TOKENS,
      STRIP,
      TILES: tiles,
      ROW_TILES: rowTiles,
      KEY_TILES: TOKENS / 16,
      STEPS: cache.keyWidth / 16,
      LOADS: ceilDiv(TOKENS * cache.keyWidth / 8, threads),
    };
    return constants(numbers) + halves + unroll(source, numbers);
  },
  workgroups: (_, { rows, tokens }) => [ceilDiv(tokens, STRIP), rows, 1],
  wasm: undefined,
} satisfies Kernel<IndexScoresConfig, string, string>;
