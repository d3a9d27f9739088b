/**
 * Decode attention over paged latents: rows of any sequences at any positions, each split along its sequence.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type HostBuffer, type Kernel } from "../contract.ts";
import { BLOCK_TOKENS, type CacheConfig, cacheTokenBytes, cacheWgsl, cacheWidth, readSlot, ropeOffset } from "../latent_cache/layout.ts";
import source from "./latent_decode.wgsl" with { type: "text" };
import { MOST_SPLITS, SPLITS_WGSL, splitTokens } from "./splits.ts";

/** Configuration of {@link latentDecode}. */
export interface LatentDecodeConfig {
  readonly cache: CacheConfig;
  readonly slots: number;
  readonly tableWords: number;
  readonly heads: number;
  /** d_n: where the rotated part of a query begins. */
  readonly nopeWidth: number;
  /** The cached columns that are also values (S_i): all of them on a single worker. */
  readonly valueOffset: number;
  readonly valueWidth: number;
  readonly scale: number;
}

/** Bindings of {@link latentDecode}. */
export type LatentDecodeBindings = "absorbed" | "q" | "cache" | "tables" | "step" | "partial";

/** Floats of one (row, head, split): sums of values, largest score, sum of weights. */
export function partialWidth(config: Pick<LatentDecodeConfig, "valueWidth">): number {
  return config.valueWidth + 2;
}

/**
 * absorbed: [rows, heads, keyWidth], q: [rows, heads, d_n + d_r], step: [rows, 4] words (token, position, slot, first word of the block table) →
 * partial: [rows, heads, MOST_SPLITS, valueWidth + 2]. A row attends to positions 0 … its own. `splits`: the most splits of any row.
 */
export const latentDecode: Kernel<LatentDecodeConfig, LatentDecodeBindings, "rows" | "splits"> = {
  name: "latent_decode",
  bindings: { absorbed: "read", q: "read", cache: "read", tables: "read", step: "read", partial: "read_write" },
  params: ["rows", "splits"],
  wgsl: (config) =>
    constants({
      HEADS: config.heads,
      KEY_WIDTH: config.cache.keyWidth,
      ROPE_WIDTH: config.cache.ropeWidth,
      NOPE: config.nopeWidth,
      QUERY: config.nopeWidth + config.cache.ropeWidth,
      VALUE_OFFSET: config.valueOffset,
      VALUE_WIDTH: config.valueWidth,
      TOKENS_AT_ONCE: tokensAtOnce(config),
    }, { SCALE: config.scale }) + SPLITS_WGSL + cacheWgsl(config.cache) + source,
  workgroups: (config, { rows, splits }) => [splits, ceilDiv(config.heads, 64 / tokensAtOnce(config)), rows],
  sizes: (config, { rows }) => ({
    absorbed: rows * config.heads * config.cache.keyWidth * 4,
    q: rows * config.heads * (config.nopeWidth + config.cache.ropeWidth) * 4,
    cache: config.slots * cacheTokenBytes(config.cache),
    tables: config.tableWords * 4,
    step: rows * 16,
    partial: rows * config.heads * MOST_SPLITS * partialWidth(config) * 4,
  }),
  reference(config, buffers, { rows }) {
    for (let row = 0; row < rows; row++) {
      const context = buffers.step.u32[row * 4 + 1] + 1;
      const tokens = splitTokens(context);
      for (let split = 0; split * tokens < context; split++) {
        attendSplit(config, buffers, row, split, split * tokens, Math.min(context, (split + 1) * tokens));
      }
    }
  },
};

/** Latents per tile: as many as fit 20 KiB of workgroup memory. */
function tokensAtOnce(config: LatentDecodeConfig): number {
  const bytes = cacheWidth(config.cache) * 4;
  return bytes * 8 <= 20480 ? 8 : bytes * 4 <= 20480 ? 4 : 2;
}

function attendSplit(
  config: LatentDecodeConfig,
  { absorbed, q, cache, tables, step, partial }: Readonly<Record<LatentDecodeBindings, HostBuffer>>,
  row: number,
  split: number,
  begin: number,
  end: number,
): void {
  const { heads, nopeWidth, valueOffset, valueWidth, scale } = config;
  const { keyWidth, ropeWidth } = config.cache;
  const ropeAt = ropeOffset(config.cache);
  const table = step.u32[row * 4 + 3];
  const count = end - begin;
  const width = cacheWidth(config.cache);
  const latents = new Float64Array(count * width);
  for (let t = 0; t < count; t++) {
    const position = begin + t;
    const slot = tables.u32[table + Math.floor(position / BLOCK_TOKENS)] * BLOCK_TOKENS + (position % BLOCK_TOKENS);
    readSlot(config.cache, cache, slot, latents.subarray(t * width, (t + 1) * width));
  }
  const scores = new Float64Array(count);
  const sums = new Float64Array(valueWidth);
  for (let head = 0; head < heads; head++) {
    const item = row * heads + head;
    let largest = -Infinity;
    for (let t = 0; t < count; t++) {
      let score = 0;
      const at = t * width;
      for (let k = 0, from = item * keyWidth; k < keyWidth; k++) score += absorbed.f32[from + k] * latents[at + k];
      for (let k = 0, from = item * (nopeWidth + ropeWidth) + nopeWidth; k < ropeWidth; k++) score += q.f32[from + k] * latents[at + ropeAt + k];
      scores[t] = score * scale;
      if (scores[t] > largest) largest = scores[t];
    }
    sums.fill(0);
    let total = 0;
    for (let t = 0; t < count; t++) {
      const p = Math.exp(scores[t] - largest);
      total += p;
      for (let c = 0, from = t * width + valueOffset; c < valueWidth; c++) sums[c] += p * latents[from + c];
    }
    const to = (item * MOST_SPLITS + split) * (valueWidth + 2);
    partial.f32.set(sums, to);
    partial.f32[to + valueWidth] = largest;
    partial.f32[to + valueWidth + 1] = total;
  }
}
