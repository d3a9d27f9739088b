/**
 * Attention of a prefill chunk to tokens that were chosen for each row, on matrix units: absorbed, since each row's own tokens cannot share keys and values that are
 * expanded. A row takes as long however long its context is.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type HostBuffer, type Kernel, workgroupMemory } from "../authoring/contract.ts";
import halves from "../authoring/halves.wgsl" with { type: "text" };
import referenceShift from "../authoring/reference_shift.wgsl" with { type: "text" };
import { fill, sectionsOf } from "../authoring/sections.ts";
import { unroll } from "../authoring/unroll.ts";
import { type CacheConfig, cacheTokenBytes, cacheWidth, readSlot } from "../latent_cache/layout.ts";
import { contextOf } from "../latent_decode/splits.ts";
import parts from "./parts.wgsl" with { type: "text" };
import source from "./sparse_prefill.wgsl" with { type: "text" };

/** How a workgroup is divided into subgroups of 32. */
export interface SparseDivision {
  /** Tiles of 16 heads that it has. */
  readonly headTiles: number;
  /** For the scores, each tile's subgroups, which divide the columns. */
  readonly widthParts: number;
  /** For the sums, tiles of heads that a subgroup has: it loads values from workgroup memory once for them all. */
  readonly rowTiles: number;
}

/** Configuration of {@link sparsePrefill}. */
export interface SparsePrefillConfig {
  /** In f16. */
  readonly cache: CacheConfig;
  readonly slots: number;
  readonly heads: number;
  /** The cached columns that are also values. */
  readonly valueOffset: number;
  readonly valueWidth: number;
  readonly scale: number;
  /** Tokens that a row attends to, or all of fewer. */
  readonly topTokens: number;
  /** Words of a row of what is chosen. */
  readonly stride: number;
  readonly division: SparseDivision;
}

const TOKENS = 16;

/** Subgroups of a workgroup. */
function subgroupsOf({ headTiles, widthParts }: SparseDivision): number {
  return headTiles * widthParts;
}

/**
 * queries: [rows, heads, cache width] in f16, laid out as latents are; `chosen`: [rows of the step, stride] slots, of the rows that begin with `first_row`; `step`:
 * [rows of the step, 4] words → out: [rows, heads, valueWidth] in f16, weighed sums of latents. The bits of a row do not depend on others.
 */
export const sparsePrefill: Kernel<SparsePrefillConfig, "queries" | "cache" | "chosen" | "step" | "out", "rows" | "first_row"> = {
  name: "sparse_prefill",
  // Only the last is written; the shader says what this is for.
  bindings: { queries: "read", cache: "read_write", chosen: "read_write", step: "read", out: "read_write" },
  params: ["rows", "first_row"],
  wgsl(config) {
    const { cache, heads, valueOffset, valueWidth, scale, topTokens, stride, division } = config;
    const { headTiles, widthParts, rowTiles } = division;
    const width = cacheWidth(cache);
    const subgroups = subgroupsOf(division);
    const columnParts = subgroups * rowTiles / headTiles;
    const numbers = {
      HEADS: heads,
      CACHE_WIDTH: width,
      VALUE_OFFSET: valueOffset,
      VALUE_WIDTH: valueWidth,
      TOP_TOKENS: topTokens,
      LIST: stride,
      HEAD_TILES: headTiles,
      WIDTH_PARTS: widthParts,
      OTHER_WIDTH_PARTS: widthParts - 1,
      ROW_TILES: rowTiles,
      COLUMN_PARTS: columnParts,
      WIDTH_STEPS: width / 16 / widthParts,
      COLUMN_STEPS: valueWidth / 16 / columnParts,
      LOADS: Math.floor(width / 8 / (subgroups * 2)),
      REST: width / 8 % (subgroups * 2) === 0 ? 0 : 1,
      HEAD_ROUNDS: ceilDiv(headTiles, 2),
      QUERY_LOADS: ceilDiv(2 * TOKENS * width / 8, subgroups * 32),
    };
    const sections = { ...sectionsOf(parts), reference_shift: referenceShift };
    return constants(numbers, { SCALE: scale * Math.LOG2E }) + halves + unroll(fill(source, sections), numbers);
  },
  workgroups: ({ heads, division }, { rows }) => [ceilDiv(heads, division.headTiles * 16), rows, 1],
  sizes: ({ cache, slots, heads, valueWidth, stride }, { rows, first_row }) => ({
    queries: rows * heads * cacheWidth(cache) * 2,
    cache: slots * cacheTokenBytes(cache),
    chosen: (first_row + rows) * stride * 4,
    step: (first_row + rows) * 16,
    out: rows * heads * valueWidth * 2,
  }),
  reference(config, { queries, cache, chosen, step, out }, { rows, first_row }) {
    const { heads, topTokens, stride } = config;
    for (let row = 0; row < rows; row++) {
      const count = Math.min(topTokens, contextOf(step.u32, first_row + row));
      const slots = chosen.u32.subarray((first_row + row) * stride, (first_row + row) * stride + count);
      for (let head = 0; head < heads; head++) attendTo(config, { queries, cache, out }, row * heads + head, slots);
    }
  },
};

function attendTo(
  { cache: layout, valueOffset, valueWidth, scale }: SparsePrefillConfig,
  { queries, cache, out }: Readonly<Record<"queries" | "cache" | "out", HostBuffer>>,
  item: number,
  slots: Uint32Array,
): void {
  const width = cacheWidth(layout);
  const latent = new Float64Array(width);
  const scores = Float64Array.from(slots, (slot) => {
    readSlot(layout, cache, slot, latent);
    let score = 0;
    for (let c = 0; c < width; c++) score += queries.f16[item * width + c] * latent[c];
    return score * scale;
  });
  const largest = scores.reduce((a, b) => Math.max(a, b));
  const sums = new Float64Array(valueWidth);
  let total = 0;
  slots.forEach((slot, i) => {
    readSlot(layout, cache, slot, latent);
    const weight = Math.exp(scores[i] - largest);
    total += weight;
    for (let c = 0; c < valueWidth; c++) sums[c] += weight * latent[valueOffset + c];
  });
  for (let c = 0; c < valueWidth; c++) out.f16[item * valueWidth + c] = sums[c] / total;
}

/** Bytes of workgroup memory, as the shader lays it out. */
function workgroupBytes({ cache }: Pick<SparsePrefillConfig, "cache">, division: SparseDivision): number {
  const { headTiles, widthParts } = division;
  const heads = headTiles * 16;
  const tile = TOKENS * (cacheWidth(cache) / 8 | 1) * 16;
  const scores = Math.max(widthParts * heads * TOKENS, subgroupsOf(division) * 256) * 4;
  return workgroupMemory([2 * tile + scores + heads * (TOKENS + 8) * 2 + heads * 4 + 4]);
}

/** By the heads that they take; where a row has fewer, fewer share what is read of a latent. */
export const SPARSE_DIVISIONS: readonly SparseDivision[] = [
  { headTiles: 4, widthParts: 2, rowTiles: 2 },
  { headTiles: 2, widthParts: 4, rowTiles: 2 },
  { headTiles: 1, widthParts: 4, rowTiles: 1 },
];

/** Whether rows can be divided so. @param workgroupLimit bytes of workgroup memory that the device allows */
export function sparseDivides(
  { cache, valueOffset, valueWidth }: Pick<SparsePrefillConfig, "cache" | "valueOffset" | "valueWidth">,
  division: SparseDivision,
  workgroupLimit: number,
): boolean {
  const { headTiles, widthParts, rowTiles } = division;
  const width = cacheWidth(cache);
  const columnParts = subgroupsOf(division) * rowTiles / headTiles;
  return cache.dtype === "f16" && width % (16 * widthParts) === 0 && valueOffset % 8 === 0 && valueWidth % (16 * columnParts) === 0 &&
    workgroupBytes({ cache }, division) <= workgroupLimit;
}

/** How to divide rows of so many heads; null if matrix units cannot attend so. @param workgroupLimit bytes of workgroup memory that the device allows */
export function divideSparse(
  config: Pick<SparsePrefillConfig, "cache" | "heads" | "valueOffset" | "valueWidth">,
  workgroupLimit: number,
): SparseDivision | null {
  const possible = SPARSE_DIVISIONS.filter((division) => sparseDivides(config, division, workgroupLimit));
  // As many heads at a time as there are, but not half of them none.
  return possible.find(({ headTiles }) => config.heads > headTiles * 8) ?? possible.at(-1) ?? null;
}
