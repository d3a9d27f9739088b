/**
 * How well cached tokens go with a query, by their index keys: what sparse attention chooses tokens by.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel, MOST_GROUPS } from "../authoring/contract.ts";
import { unroll } from "../authoring/unroll.ts";
import { type CacheConfig, cacheTokenBytes, cacheVectorsWgsl, cacheWidth, readSlot, slotOf } from "../latent_cache/layout.ts";
import { contextOf } from "../latent_decode/splits.ts";
import floats from "./floats.wgsl" with { type: "text" };
import source from "./index_scores.wgsl" with { type: "text" };
import vectors from "./vectors.wgsl" with { type: "text" };

/** Configuration of {@link indexScores}. */
export interface IndexScoresConfig {
  /** How index keys are cached. */
  readonly cache: CacheConfig;
  readonly slots: number;
  /** Slots of a block, of which there are whole tiles. */
  readonly blockTokens: number;
  readonly tableWords: number;
  readonly heads: number;
  /** Scores of a row: of so many positions. */
  readonly positions: number;
}

const THREADS = 128;
/** Keys of a tile. */
const TOKENS = 16;

/**
 * score[row, t] = Σ_h weights[row, h] · max(0, q[row, h] · key t), for tokens t up to the row's own. Scores are compared with each other alone: what all of them would
 * be multiplied by is left out.
 *
 * q: [rows of the step, heads, width], weights: [rows of the step, heads], `step`: [rows of the step, 4] words → scores: [rows, positions], of the rows that begin with
 * `first_row`. `tokens`: as many as the longest row has, or more; 0: no row is scored.
 */
export const indexScores: Kernel<IndexScoresConfig, "q" | "weights" | "cache" | "tables" | "step" | "scores", "rows" | "first_row" | "tokens"> = {
  name: "index_scores",
  bindings: { q: "read", weights: "read", cache: "read", tables: "read", step: "read", scores: "read_write" },
  params: ["rows", "first_row", "tokens"],
  wgsl({ cache, blockTokens, heads, positions }) {
    const headQuads = ceilDiv(heads, 4);
    const numbers = { HEADS: heads, WIDTH: cache.keyWidth, POSITIONS: positions, THREADS, TOKENS, HEAD_QUADS: headQuads };
    return constants(numbers) + cacheVectorsWgsl(cache, blockTokens) + (cache.keyWidth % 4 === 0 ? vectors : floats) + unroll(source, numbers);
  },
  workgroups: (_, { rows, tokens }) => [Math.min(MOST_GROUPS, ceilDiv(tokens, TOKENS)), rows, 1],
  sizes: ({ cache, slots, tableWords, heads, positions }, { rows, first_row }) => ({
    q: (first_row + rows) * heads * cache.keyWidth * 4,
    weights: (first_row + rows) * heads * 4,
    cache: slots * cacheTokenBytes(cache),
    tables: tableWords * 4,
    step: (first_row + rows) * 16,
    scores: rows * positions * 4,
  }),
  reference({ cache: config, blockTokens, heads, positions }, { q, weights, cache, tables, step, scores }, { rows, first_row, tokens }) {
    const width = config.keyWidth;
    const key = new Float64Array(cacheWidth(config));
    for (let i = 0; i < rows && tokens > 0; i++) {
      const row = first_row + i;
      const context = contextOf(step.u32, row);
      for (let position = 0; position < context; position++) {
        readSlot(config, cache, slotOf(tables, step.u32[row * 4 + 3], position, blockTokens), key);
        let score = 0;
        for (let item = row * heads, at = item * width; item < (row + 1) * heads; item++) {
          let product = 0;
          for (let k = 0; k < width; k++, at++) product += q.f32[at] * key[k];
          if (product > 0) score += weights.f32[item] * product;
        }
        scores.f32[i * positions + position] = score;
      }
    }
  },
  wasm({ cache, blockTokens, heads, positions }) {
    const width = cache.keyWidth;
    if (width % 4 !== 0) return null;
    return ({ at, allocate, reserve, call }) => {
      // Keys as f32.
      reserve(4 * width * 4);
      const args = allocate(14);
      args.u32.set([
        at.q,
        at.weights,
        at.cache,
        at.tables,
        at.step,
        at.scores,
        { f32: 0, f16: 1, fp8: 2, q8: 0 }[cache.dtype],
        heads,
        width,
        cacheTokenBytes(cache),
      ]);
      args.u32.set([positions, blockTokens], 10);
      return ({ rows, first_row, tokens }) => {
        const blocks = ceilDiv(tokens, blockTokens);
        args.u32.set([first_row, blocks], 12);
        call("index_scores", args, rows * blocks, blockTokens * heads * width);
      };
    };
  },
};
