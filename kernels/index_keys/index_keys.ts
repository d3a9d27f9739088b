/**
 * Normalises and rotates a token's index key and writes it into its paged cache, and rotates the token's index queries: what sparse attention chooses tokens by.
 *
 * @module
 */
import type { IndexDtype } from "../../core/cache/cache_dtype.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type HostBuffer, type Kernel } from "../authoring/contract.ts";
import { type CacheConfig, cacheTokenBytes, cacheWidth, slotOf, writeSlot } from "../latent_cache/layout.ts";
import { SHORT_SEQUENCE } from "../rope_store/rope_store.ts";
import { fill, sectionsOf } from "../authoring/sections.ts";
import { fp8Config, fp8StoreWgsl } from "../latent_cache/fp8.ts";
import storeF16 from "../rope_store/store_f16.wgsl" with { type: "text" };
import storeF32 from "../rope_store/store_f32.wgsl" with { type: "text" };
import source from "./index_keys.wgsl" with { type: "text" };
import storeFp8 from "./store_fp8.wgsl" with { type: "text" };
import storePairs from "./store_pairs.wgsl" with { type: "text" };

/** Configuration of {@link indexKeys}. */
export interface IndexKeysConfig {
  /** How index keys are cached, which has no rotated part of its own. */
  readonly cache: CacheConfig;
  readonly slots: number;
  /** Slots of a block: of every token that a block stands for, whoever keeps its latent. */
  readonly blockTokens: number;
  readonly tableWords: number;
  /** Heads of queries. */
  readonly heads: number;
  /** Columns that are rotated, the first ones. */
  readonly ropeWidth: number;
  /** Rotated pairs are (2i, 2i+1) if true, (i, i + ropeWidth / 2) otherwise. */
  readonly interleaved: boolean;
  readonly eps: number;
  /** Rows of the table, and those behind them for short sequences, see `rope_store.ts`. */
  readonly positions: number;
  readonly shortPositions: number;
}

const THREADS = 128;
/** Partial sums of a row. */
const PARTS = 16;

/** How keys are cached: their width, and precision. */
export function indexKeyConfig(width: number, dtype: IndexDtype): CacheConfig {
  return dtype === "fp8" ? fp8Config(width) : { dtype, keyWidth: width, ropeWidth: 0 };
}

/**
 * k̂ = (x - mean(x)) / √(var(x) + eps) · gain + bias → cache[slot of the row's position under its block table] = k̂, its first columns rotated, rounded to cache precision; and the same columns of q are
 * rotated in place. x: [rows, width], q: [rows, heads, width], `table`: [positions + shortPositions, ropeWidth / 2, 2] (cos, sin), `step`: [rows, 4] words.
 */
export const indexKeys: Kernel<IndexKeysConfig, "x" | "gain" | "bias" | "step" | "table" | "q" | "cache" | "tables", "rows"> = {
  name: "index_keys",
  bindings: { x: "read", gain: "read", bias: "read", step: "read", table: "read", q: "read_write", cache: "read_write", tables: "read" },
  params: ["rows"],
  wgsl: ({ cache, blockTokens, heads, ropeWidth, interleaved, eps, positions }) =>
    constants({
      WIDTH: cache.keyWidth,
      CACHE_WIDTH: cacheWidth(cache),
      BLOCK_TOKENS: blockTokens,
      HEADS: heads,
      ROPE_WIDTH: ropeWidth,
      POSITIONS: positions,
      THREADS,
      PARTS,
    }, { EPS: eps }) + `const INTERLEAVED = ${interleaved};\n` + storingWgsl(cache),
  workgroups: ({ heads, ropeWidth }, { rows }) => [rows, 1 + ceilDiv(heads * ropeWidth / 2, THREADS), 1],
  sizes: ({ cache, slots, tableWords, heads, ropeWidth, positions, shortPositions }, { rows }) => ({
    x: rows * cache.keyWidth * 4,
    gain: cache.keyWidth * 4,
    bias: cache.keyWidth * 4,
    step: rows * 16,
    table: (positions + shortPositions) * ropeWidth * 4,
    q: rows * heads * cache.keyWidth * 4,
    cache: slots * cacheTokenBytes(cache),
    tables: tableWords * 4,
  }),
  reference(config, { x, gain, bias, step, table, q, cache, tables }, { rows }) {
    const { heads, eps, positions, cache: layout, blockTokens } = config;
    const width = layout.keyWidth;
    for (let row = 0; row < rows; row++) {
      const [position, place, ownTable] = step.u32.subarray(row * 4 + 1);
      const turns = position + (place >= SHORT_SEQUENCE ? positions : 0);
      const key = new Float64Array(cacheWidth(layout));
      key.set(x.f32.subarray(row * width, (row + 1) * width));
      normalise(key.subarray(0, width), eps);
      for (let k = 0; k < width; k++) key[k] = key[k] * gain.f32[k] + bias.f32[k];
      rotate(config, table, turns, key);
      writeSlot(layout, cache, slotOf(tables, ownTable, position, blockTokens), key);
      for (let item = row * heads; item < (row + 1) * heads; item++) rotate(config, table, turns, q.f32.subarray(item * width, (item + 1) * width));
    }
  },
};

function storingWgsl(cache: CacheConfig): string {
  if (cache.dtype === "fp8") return fp8StoreWgsl(cache) + fill(source, sectionsOf(storeFp8));
  return (cache.dtype === "f32" ? storeF32 : storeF16) + fill(source, sectionsOf(storePairs));
}

/** In place: mean 0, variance 1. */
function normalise(values: Float64Array, eps: number): void {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  values.forEach((value, i) => values[i] = (value - mean) / Math.sqrt(variance + eps));
}

/** In place. */
function rotate({ ropeWidth, interleaved }: IndexKeysConfig, table: HostBuffer, turns: number, values: Float32Array | Float64Array): void {
  const pairs = ropeWidth / 2;
  for (let pair = 0; pair < pairs; pair++) {
    const [a, b] = interleaved ? [2 * pair, 2 * pair + 1] : [pair, pair + pairs];
    const [cos, sin] = [table.f32[(turns * pairs + pair) * 2], table.f32[(turns * pairs + pair) * 2 + 1]];
    [values[a], values[b]] = [values[a] * cos - values[b] * sin, values[b] * cos + values[a] * sin];
  }
}
