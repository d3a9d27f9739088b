/**
 * Decode attention over paged latents: rows of any sequences at any positions, each split along its sequence.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type HostBuffer, type Kernel } from "../authoring/contract.ts";
import { type CacheConfig, cacheTokenBytes, cacheVectorsWgsl, cacheWidth, readSlot, slotOf } from "../latent_cache/layout.ts";
import { q8Arguments } from "../latent_cache/q8.ts";
import { unroll } from "../authoring/unroll.ts";
import source from "./latent_decode.wgsl" with { type: "text" };
import serial from "./softmax_serial.wgsl" with { type: "text" };
import subgroups from "./softmax_subgroups.wgsl" with { type: "text" };
import { queriesBytes, type QueriesConfig, readQuery } from "./queries.ts";
import { contextOf, partialWidth, splitCount, splitPositions, splitsWgsl, type Splitting } from "./splits.ts";

/** What every kernel for decode attention is made for. */
export interface LatentDecodeConfig extends Splitting {
  readonly cache: CacheConfig;
  readonly slots: number;
  readonly tableWords: number;
  readonly heads: number;
  /** The cached columns that are also values (S_i): all of them on a single worker. */
  readonly valueOffset: number;
  readonly valueWidth: number;
  readonly scale: number;
}

/** Configuration of {@link latentDecode}. */
export interface PlainDecodeConfig extends LatentDecodeConfig {
  /** Least threads in a subgroup; 0 where there are none. */
  readonly subgroups: number;
  /** Bytes of workgroup memory that the device allows; every one has 16 KiB. */
  readonly workgroupLimit: number;
}

/** Bindings of {@link latentDecode}. */
export type LatentDecodeBindings = "queries" | "cache" | "tables" | "step" | "partial";

/** Access of each binding. */
export const LATENT_DECODE_BINDINGS: Readonly<Record<LatentDecodeBindings, "read" | "read_write">> = {
  queries: "read",
  cache: "read",
  tables: "read",
  step: "read",
  partial: "read_write",
};

/** How the queries of a kernel lie that stores them as `dtype`. */
export function queriesOf({ cache }: Pick<LatentDecodeConfig, "cache">, dtype: QueriesConfig["dtype"]): QueriesConfig {
  return { dtype, keyWidth: cache.keyWidth, ropeWidth: cache.ropeWidth };
}

/** Least bytes of each binding. */
export function latentDecodeSizes(config: LatentDecodeConfig, rows: number, queries: QueriesConfig): Record<LatentDecodeBindings, number> {
  return {
    queries: queriesBytes(queries, rows * config.heads),
    cache: config.slots * cacheTokenBytes(config.cache),
    tables: config.tableWords * 4,
    step: rows * 16,
    partial: rows * config.heads * config.mostSplits * partialWidth(config.valueWidth) * 4,
  };
}

const THREADS = 128;
/** Bytes that four heads need on `wasm` beside their queries (latent_decode.as). */
const FOUR_HEADS = 320;

/** Latents per tile, of which a block of the cache holds whole ones: as many as fit 20 KiB of workgroup memory, and with all else what there is. */
function tokensAtOnce(config: PlainDecodeConfig): number {
  return [8, 4].find((tokens) => tileBytes(config, tokens) <= 20480 && workgroupBytes(config, tokens) <= config.workgroupLimit) ?? 2;
}

function tileBytes({ cache }: LatentDecodeConfig, tokens: number): number {
  return tokens * (cacheWidth(cache) + 4) * 4;
}

/** With partial scores, of which each thread has eight, scores and weights, and what sums shrink by. */
function workgroupBytes(config: LatentDecodeConfig, tokens: number): number {
  const heads = headsAtOnce(config);
  return tileBytes(config, tokens) + (THREADS * 8 + 2 * heads * tokens + heads) * 4;
}

function headsAtOnce(config: LatentDecodeConfig): number {
  return config.heads > 8 ? 16 : config.heads > 4 ? 8 : 4;
}

/**
 * queries: [rows, heads, cache width] f32 (see queries.ts), step: [rows, 4] words (token, position, slot, first word of the block table) →
 * partial: [rows, heads, mostSplits, partialWidth]. A row attends to positions 0 … its own; one at 2³² - 1 to none, and nothing is left of
 * it. `splits`: the most splits of any row.
 */
export const latentDecode: Kernel<PlainDecodeConfig, LatentDecodeBindings, "rows" | "splits"> = {
  name: "latent_decode",
  bindings: LATENT_DECODE_BINDINGS,
  params: ["rows", "splits"],
  wgsl(config) {
    const { heads, valueOffset, valueWidth } = config;
    const atOnce = headsAtOnce(config);
    const tokens = tokensAtOnce(config);
    const quads = ceilDiv(valueOffset + valueWidth, 4) - Math.floor(valueOffset / 4);
    const numbers = {
      HEADS: heads,
      VALUE_OFFSET: valueOffset,
      VALUE_WIDTH: valueWidth,
      PARTIAL_WIDTH: partialWidth(valueWidth),
      THREADS,
      TOKENS: tokens,
      HEADS_AT_ONCE: atOnce,
      HEAD_QUADS: atOnce / 4,
      COLUMN_QUADS: ceilDiv(quads, THREADS),
      LOADS: ceilDiv(tokens * cacheTokenBytes(config.cache) / 16, THREADS),
      // A thread takes four heads and two latents.
      PARTS: THREADS / (atOnce / 4 * tokens / 2),
    };
    // The tokens of a tile must lie in one subgroup.
    const softmax = config.subgroups >= tokens ? subgroups : serial;
    return constants(numbers, { SCALE: config.scale }) + splitsWgsl(config) + cacheVectorsWgsl(config.cache) +
      unroll(softmax + source, numbers);
  },
  workgroups: (config, { rows, splits }) => [splits, ceilDiv(config.heads, headsAtOnce(config)), rows],
  sizes: (config, { rows }) => latentDecodeSizes(config, rows, queriesOf(config, "f32")),
  reference: (config, buffers, { rows }) => attendRows(config, buffers, rows, queriesOf(config, "f32")),
  wasm(config) {
    const { cache, heads, valueOffset, valueWidth, scale, usualSplits, mostSplits, stripTokens, tableWords } = config;
    if (valueOffset % 4 !== 0 || valueWidth % 4 !== 0 || usualSplits !== mostSplits) return null;
    return ({ at, allocate, reserve, call, wide }) => {
      const together = wide && cache.dtype !== "f16" ? 4 : 2;
      // Addresses and some heads' scores of a split, which has a mostSplits-th of a sequence's strips, or one; and what it is widened to.
      const strips = ceilDiv(tableWords * BLOCK_TOKENS, stripTokens);
      const width = cacheWidth(cache);
      const widened = cache.dtype === "q8" ? width * 4 : 0;
      reserve((ceilDiv(strips, mostSplits) * stripTokens + 4) * (4 + 4 * together + widened) + (together === 4 ? FOUR_HEADS + 16 * width : 0));
      const args = allocate(19);
      args.u32.set([at.queries, at.cache, at.tables, at.step, at.partial, cache.dtype === "f16" ? 1 : 0, heads, width, cacheTokenBytes(cache)]);
      args.u32.set([
        valueOffset,
        valueWidth,
        partialWidth(valueWidth) * 4,
        0,
        mostSplits,
        stripTokens,
        BLOCK_TOKENS,
        cache.dtype === "q8" ? q8Arguments(cache, allocate) : 0,
        together,
      ], 9);
      args.f32[12] = scale;
      return ({ rows, splits }) => {
        args.u32[18] = splits;
        call("latent_decode", args, rows * splits * ceilDiv(heads, together), 2 * together * width * stripTokens);
      };
    };
  },
};

/** Attention in float64, whatever the queries are stored as. */
export function attendRows(
  config: LatentDecodeConfig,
  buffers: Readonly<Record<LatentDecodeBindings, HostBuffer>>,
  rows: number,
  queries: QueriesConfig,
): void {
  for (let row = 0; row < rows; row++) {
    const context = contextOf(buffers.step.u32, row);
    for (let split = 0; split < splitCount(context, config); split++) attendSplit(config, buffers, queries, { row, split, context });
  }
}

function attendSplit(
  config: LatentDecodeConfig,
  { queries, cache, tables, step, partial }: Readonly<Record<LatentDecodeBindings, HostBuffer>>,
  layout: QueriesConfig,
  { row, split, context }: Readonly<Record<"row" | "split" | "context", number>>,
): void {
  const { cache: cacheConfig, heads, valueOffset, valueWidth, scale, mostSplits } = config;
  const table = step.u32[row * 4 + 3];
  const positions = [...splitPositions(split, context, config)];
  const count = positions.length;
  const width = cacheWidth(cacheConfig);
  const latents = new Float64Array(count * width);
  for (let t = 0; t < count; t++) {
    readSlot(cacheConfig, cache, slotOf(tables, table, positions[t]), latents.subarray(t * width, (t + 1) * width));
  }
  const query = new Float64Array(width);
  const scores = new Float64Array(count);
  const sums = new Float64Array(valueWidth);
  for (let head = 0; head < heads; head++) {
    const item = row * heads + head;
    for (let k = 0; k < width; k++) query[k] = readQuery(layout, queries, item * width + k);
    let largest = -Infinity;
    for (let t = 0, at = 0; t < count; t++) {
      let score = 0;
      for (let k = 0; k < width; k++, at++) score += query[k] * latents[at];
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
    const to = (item * mostSplits + split) * partialWidth(valueWidth);
    partial.f32.set(sums, to);
    partial.f32[to + valueWidth] = largest;
    partial.f32[to + valueWidth + 1] = total;
  }
}
