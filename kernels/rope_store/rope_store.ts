/**
 * Rotates a token's queries and key by its position (YaRN changes only the table, core/model/rope.ts), normalises its latent, changes the latent's basis, and
 * writes latent and key into the paged cache.
 *
 * @module
 */
import { ceilDiv, roundUp } from "../../core/numeric.ts";
import { constants, type HostBuffer, type Kernel } from "../authoring/contract.ts";
import { unroll } from "../authoring/unroll.ts";
import { type CacheConfig, cacheTokenBytes, cacheWgsl, cacheWidth, ropeOffset, writeSlot } from "../latent_cache/layout.ts";
import { groupEnds, groupsOf, q8Arguments, q8SlotOf, SMALLEST } from "../latent_cache/q8.ts";
import { queriesBytes, type QueriesConfig, queriesWgsl, writeQuery } from "../latent_decode/queries.ts";
import { inverseRmsBytes, inverseRmsWgsl, rmsScale } from "../rms_norm/rms_norm.ts";
import dense from "./dense.wgsl" with { type: "text" };
import diagonal from "./diagonal.wgsl" with { type: "text" };
import rope from "./rope.wgsl" with { type: "text" };
import source from "./rope_store.wgsl" with { type: "text" };
import sliced from "./sliced.wgsl" with { type: "text" };
import storeF16 from "./store_f16.wgsl" with { type: "text" };
import storeF32 from "./store_f32.wgsl" with { type: "text" };
import storePairs from "./store_pairs.wgsl" with { type: "text" };
import storeQ8 from "./store_q8.wgsl" with { type: "text" };

/** Configuration of {@link ropeStore}. */
export interface RopeStoreConfig {
  readonly cache: CacheConfig;
  /** d_c */
  readonly latentWidth: number;
  /** Floats from one row of x to the next; a row is the latent (d_c) and the rotated key (d_r). */
  readonly rowStride: number;
  readonly eps: number;
  /**
   * What `basis` holds. `diagonal`: [d_c], c' = basis ∘ ĉ; with the norm's gain as basis, the key and value projections stay as they are stored.
   * `dense`: the kept rows of Aᵀ, [keyWidth, d_c], c' = basis · ĉ. `sliced`: the same rows, but c' = s / √(Σs² / sliced + eps) with s = basis · x: the approximate
   * norm of the TPLA paper, which sees only the kept columns and knows what share of all squares they have on average.
   */
  readonly basis: "diagonal" | "dense" | { readonly sliced: number };
  /** Slots of the cache. */
  readonly slots: number;
  readonly heads: number;
  /** Floats of one head's query, of which the last d_r are rotated. */
  readonly queryWidth: number;
  /** How absorbed queries lie. */
  readonly queries: QueriesConfig;
  /** Rotated pairs are (2i, 2i+1) if true, (i, i + d_r / 2) otherwise. */
  readonly interleaved: boolean;
  /** Rows of the table. */
  readonly positions: number;
  /** Rows behind them, for tokens whose slot has {@link SHORT_SEQUENCE}: of as many positions. */
  readonly shortPositions: number;
}

/** Added to the slot of a token that is rotated as part of a short sequence. */
export const SHORT_SEQUENCE = 0x80000000;

/** The slot of a token whose latent is not stored: another rank keeps it. Its queries are rotated all the same. */
export const NO_SLOT = 0x7fffffff;

const TRANSFORMS = { diagonal, dense } as const;

function slicedWidth({ basis }: RopeStoreConfig): number | null {
  return typeof basis === "string" ? null : basis.sliced;
}

function normaliseSlice(values: Float64Array, width: number, eps: number): void {
  const squares = values.reduce((sum, value) => sum + value * value, 0);
  const scale = 1 / Math.sqrt(squares / width + eps);
  values.forEach((value, i) => values[i] = value * scale);
}

/** Threads of a workgroup. */
const THREADS = 128;
/** Columns under a dense basis that a workgroup computes at a time; see dense.wgsl. */
const DENSE_COLUMNS = 16;

/**
 * Where the columns begin that each workgroup of a row stores, and where the last ones end, with what fills them up. All of a latent are one block where the norm of a
 * slice needs all its columns, or a diagonal basis is next to no work. Under a dense basis, what shares a scale is in one block, which consists of whole words.
 */
function latentBlocks({ basis, cache }: Pick<RopeStoreConfig, "basis" | "cache">): number[] {
  const end = cache.dtype === "q8" ? q8SlotOf(cache).rope : ropeOffset(cache);
  if (basis !== "dense") return [0, end];
  if (cache.dtype === "q8") return [0, ...groupEnds(cache).slice(0, -1).filter((cut) => cut % 4 === 0), end];
  return [...Array.from({ length: ceilDiv(cache.keyWidth, DENSE_COLUMNS) }, (_, block) => block * DENSE_COLUMNS), end];
}

/** How often a workgroup computes {@link DENSE_COLUMNS}. */
function denseSteps(config: Pick<RopeStoreConfig, "basis" | "cache">): number {
  const begins = latentBlocks(config);
  const widths = begins.slice(1).map((end, i) => Math.min(end, roundUp(config.cache.keyWidth, DENSE_COLUMNS)) - begins[i]);
  return ceilDiv(Math.max(...widths), DENSE_COLUMNS);
}

/** `block_first(block)`: where a block's columns begin. */
function blocksWgsl(config: RopeStoreConfig): string {
  const begins = latentBlocks(config);
  const even = config.cache.dtype !== "q8" && config.basis === "dense";
  const terms = begins.slice(1).map((end, i) => `select(0u, ${end - begins[i]}u, block > ${i}u)`).join(" + ");
  return `fn block_first(block: u32) -> u32 { return ${even ? `block * ${DENSE_COLUMNS}u` : terms}; }\n`;
}

/** How latents are stored. */
function storeWgsl({ cache: { dtype } }: RopeStoreConfig): string {
  return {
    f16: () => storeF16 + storePairs,
    f32: () => storeF32 + storePairs,
    q8: () => constants({ NOT_FINITE: 0x7fc00000 }, { SMALLEST }) + storeQ8,
    fp8: () => {
      throw new TypeError("Only index keys are cached in fp8");
    },
  }[dtype]();
}

/**
 * ĉ = x / √(mean(x²) + eps) → cache[slot of row] = (basis · ĉ, rotated key), rounded to cache precision. x: [rows, d_c + d_r], q: [rows, heads, queryWidth],
 * `table`: [positions + shortPositions, d_r / 2, 2] (cos, sin), `step`: [rows, 4] words (token, position, slot or {@link NO_SLOT}, first word of the block table). With `absorbed_rows` 0 the
 * queries are rotated in place; otherwise it is `rows`, and their rotated parts go to where `absorb` puts the rest: queries: [rows, heads, cache width].
 */
export const ropeStore: Kernel<RopeStoreConfig, "x" | "basis" | "step" | "table" | "q" | "queries" | "cache", "rows" | "absorbed_rows"> = {
  name: "rope_store",
  bindings: { x: "read", basis: "read", step: "read", table: "read", q: "read_write", queries: "read_write", cache: "read_write" },
  params: ["rows", "absorbed_rows"],
  wgsl: (config) =>
    constants(
      {
        LATENT: config.latentWidth,
        KEY_WIDTH: config.cache.keyWidth,
        ROPE_WIDTH: config.cache.ropeWidth,
        ROW_STRIDE: config.rowStride,
        HEADS: config.heads,
        QUERY: config.queryWidth,
        LATENT_BLOCKS: latentBlocks(config).length - 1,
        STEP_COLUMNS: DENSE_COLUMNS,
        STEPS: denseSteps(config),
        POSITIONS: config.positions,
        NO_SLOT,
      },
      { EPS: config.eps, SLICED_WIDTH: slicedWidth(config) ?? 0 },
    ) +
    inverseRmsWgsl(THREADS) + queriesWgsl(config.queries) + cacheWgsl(config.cache) + storeWgsl(config) + blocksWgsl(config) +
    `const SLICED = ${slicedWidth(config) !== null};\nconst INTERLEAVED = ${config.interleaved};\n` + rope +
    unroll(typeof config.basis === "string" ? TRANSFORMS[config.basis] : sliced, { STEPS: denseSteps(config) }) + source,
  workgroupBytes(config) {
    const { basis, latentWidth, cache } = config;
    const transform = basis === "dense" ? [THREADS, DENSE_COLUMNS * denseSteps(config)] : basis === "diagonal" ? [] : [cache.keyWidth];
    const scales = cache.dtype === "q8" ? [groupsOf(cache).length] : [];
    return [...inverseRmsBytes(THREADS), ...[...transform, ...scales, latentWidth].map((floats) => floats * 4)];
  },
  workgroups: (config, { rows }) => [rows, latentBlocks(config).length - 1 + ceilDiv(config.heads * config.cache.ropeWidth / 2, THREADS), 1],
  sizes: (config, { rows, absorbed_rows }) => ({
    x: rows === 0 ? 0 : ((rows - 1) * config.rowStride + config.latentWidth + config.cache.ropeWidth) * 4,
    basis: config.latentWidth * (config.basis === "diagonal" ? 1 : config.cache.keyWidth) * 4,
    step: rows * 16,
    table: (config.positions + config.shortPositions) * config.cache.ropeWidth * 4,
    q: rows * config.heads * config.queryWidth * 4,
    queries: queriesBytes(config.queries, absorbed_rows * config.heads),
    cache: config.slots * cacheTokenBytes(config.cache),
  }),
  reference(config, { x, basis, step, table, q, queries, cache }, { rows, absorbed_rows }) {
    const { latentWidth, rowStride, heads, queryWidth } = config;
    const { keyWidth, ropeWidth } = config.cache;
    const width = slicedWidth(config);
    const values = new Float64Array(cacheWidth(config.cache));
    for (let row = 0; row < rows; row++) {
      const from = row * rowStride;
      const place = step.u32[row * 4 + 2];
      const slot = place & ~SHORT_SEQUENCE;
      const scale = width !== null ? 1 : rmsScale(x.f32, from, latentWidth, config.eps);
      for (let k = 0; k < keyWidth; k++) {
        if (config.basis === "diagonal") {
          values[k] = x.f32[from + k] * scale * basis.f32[k];
          continue;
        }
        let sum = 0;
        for (let j = 0; j < latentWidth; j++) sum += basis.f32[k * latentWidth + j] * x.f32[from + j];
        values[k] = sum * scale;
      }
      if (width !== null) normaliseSlice(values.subarray(0, keyWidth), width, config.eps);
      const position = step.u32[row * 4 + 1] + (place >= SHORT_SEQUENCE ? config.positions : 0);
      const key = values.subarray(ropeOffset(config.cache));
      for (let k = 0; k < ropeWidth; k++) key[k] = x.f32[from + latentWidth + k];
      rotate(config, table, position, key);
      for (let head = 1; head <= heads; head++) {
        const end = (row * heads + head) * queryWidth;
        if (row >= absorbed_rows) {
          rotate(config, table, position, q.f32.subarray(end - ropeWidth, end));
          continue;
        }
        const turned = q.f32.slice(end - ropeWidth, end);
        rotate(config, table, position, turned);
        const to = (row * heads + head - 1) * cacheWidth(config.cache) + ropeOffset(config.cache);
        turned.forEach((value, k) => writeQuery(config.queries, queries, to + k, value));
      }
      if (slot !== NO_SLOT) writeSlot(config.cache, cache, slot, values);
    }
  },
  wasm(config) {
    const { cache, latentWidth, rowStride, heads, queryWidth, eps, basis, interleaved, queries, positions } = config;
    if (cache.dtype === "f16" || queries.dtype !== "f32") return null;
    return ({ at, allocate, reserve, call }) => {
      const args = allocate(23);
      const width = cacheWidth(cache);
      args.u32.set([at.x, at.basis, at.step, at.table, at.q, at.queries, at.cache, latentWidth, cache.keyWidth, ropeOffset(cache), cache.ropeWidth]);
      const transform = basis === "diagonal" ? 0 : basis === "dense" ? 1 : 2;
      args.u32.set([width, rowStride * 4, heads, queryWidth, transform, 0, 0, interleaved ? 1 : 0, cacheTokenBytes(cache)], 11);
      args.u32[20] = cache.dtype === "q8" ? q8Arguments(cache, allocate) : 0;
      if (cache.dtype === "q8") reserve(width * 4);
      args.f32[16] = slicedWidth(config) ?? 0;
      args.f32[17] = eps;
      args.u32[21] = positions;
      const work = latentWidth * (transform === 0 ? 1 : cache.keyWidth) + 4 * heads * cache.ropeWidth;
      return ({ rows, absorbed_rows }) => {
        args.u32[22] = absorbed_rows;
        call("rope_store", args, rows, work);
      };
    };
  },
};

/** Rotates d_r floats in place. */
function rotate(
  { cache: { ropeWidth }, interleaved }: RopeStoreConfig,
  table: HostBuffer,
  position: number,
  values: Float32Array | Float64Array,
): void {
  const pairs = ropeWidth / 2;
  for (let pair = 0; pair < pairs; pair++) {
    const [a, b] = interleaved ? [2 * pair, 2 * pair + 1] : [pair, pair + pairs];
    const [cos, sin] = [table.f32[(position * pairs + pair) * 2], table.f32[(position * pairs + pair) * 2 + 1]];
    [values[a], values[b]] = [values[a] * cos - values[b] * sin, values[b] * cos + values[a] * sin];
  }
}
