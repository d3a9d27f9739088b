/**
 * Absorbs the key up-projection into the query (tpla: q̃[h] = W_UK[h]ᵀ q_n[h]), so that decode attends over latents without expanding keys.
 *
 * @module
 */
import { type MatrixLayout, unpackRow } from "../../core/model/packing.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { cacheWidth } from "../latent_cache/layout.ts";
import { queriesBytes, type QueriesConfig, queriesWgsl, writeQuery } from "../latent_decode/queries.ts";
import { unroll } from "../authoring/unroll.ts";
import { quadsPerVector, weightFormatWgsl } from "../authoring/weight_format/weight_format.ts";
import { wasmReads } from "../linear/wasm.ts";
import { WASM_FORMATS, WASM_SCALINGS } from "../authoring/wasm_program.ts";
import source from "./absorb.wgsl" with { type: "text" };

/** Stack of one matrix per head, each [rows, layout.columns]. */
export interface AbsorbConfig {
  readonly layout: MatrixLayout;
  readonly heads: number;
  readonly rows: number;
  /** Tokens that share a read of the weights. */
  readonly tokensAtOnce: number;
  /** Floats from one (token, head) of x to the next. */
  readonly inputStride: number;
  /** How the result lies: its key columns are written. */
  readonly queries: QueriesConfig;
}

const THREADS = 128;
/** Columns that a workgroup takes. */
const BLOCK_COLUMNS = 128;
/** Columns that a thread on `wasm` takes: the most that share a scale. */
const SPANS = [64, 32, 16];

function blockVectors({ layout }: AbsorbConfig): number {
  return BLOCK_COLUMNS / 4 / quadsPerVector(layout.format);
}

/**
 * x: [items, inputStride], of which the first `rows` are read → queries: [items, cache width]; item = token · heads + head. The bits of an item do not depend on
 * others.
 */
export const absorb: Kernel<AbsorbConfig, "weights" | "scales" | "x" | "queries", "items"> = {
  name: "absorb",
  bindings: { weights: "read", scales: "read", x: "read", queries: "read_write" },
  params: ["items"],
  wgsl(config) {
    const counts = { QUADS: quadsPerVector(config.layout.format), TOKENS_AT_ONCE: config.tokensAtOnce };
    const numbers = {
      TOKENS_AT_ONCE: config.tokensAtOnce,
      HEADS: config.heads,
      ROWS: config.rows,
      INPUT_STRIDE: config.inputStride,
      THREADS,
      BLOCK_VECTORS: blockVectors(config),
      WIDTH: cacheWidth(config.queries),
    };
    return constants(numbers) + queriesWgsl(config.queries) + weightFormatWgsl(config.layout) +
      unroll(source, counts);
  },
  workgroupBytes: ({ layout }) => [THREADS * quadsPerVector(layout.format) * 16],
  workgroups: ({ layout, heads, tokensAtOnce }, { items }) => [
    ceilDiv(layout.columns, BLOCK_COLUMNS),
    ceilDiv(items / heads, tokensAtOnce) * heads,
    1,
  ],
  sizes: (config, { items }) => ({
    weights: config.heads * config.rows * config.layout.rowBytes,
    scales: config.heads * config.rows * config.layout.scaleRowBytes,
    x: items === 0 ? 0 : ((items - 1) * config.inputStride + config.rows) * 4,
    queries: queriesBytes(config.queries, items),
  }),
  reference({ layout, heads, rows, inputStride, queries: to }, { weights, scales, x, queries }, { items }) {
    const row = new Float64Array(layout.columns);
    const sums = new Float64Array(items * layout.columns);
    for (let head = 0; head < heads; head++) {
      for (let r = 0; r < rows; r++) {
        unpackRow(layout, weights, scales, head * rows + r, row);
        for (let item = head; item < items; item += heads) {
          const factor = x.f32[item * inputStride + r];
          for (let k = 0, at = item * layout.columns; k < layout.columns; k++) sums[at + k] += factor * row[k];
        }
      }
    }
    const width = cacheWidth(to);
    for (let item = 0; item < items; item++) {
      for (let k = 0; k < layout.columns; k++) writeQuery(to, queries, item * width + k, sums[item * layout.columns + k]);
    }
  },
  wasm({ layout, heads, rows, inputStride, queries }) {
    // Levels of eight bits, and zero points that are no integers, are of projections nowhere.
    if (!wasmReads(layout) || layout.format === "int8" || layout.scaling === "f32-zero" || layout.columns % 4 !== 0 || queries.dtype !== "f32") {
      return null;
    }
    return ({ at, allocate, reserve, call }) => {
      const args = allocate(16);
      const { format, columns, rowBytes, scaleRowBytes, group, scaling } = layout;
      const span = SPANS.find((span) => group % span === 0)!;
      reserve(rows * (2 + span) * 4);
      args.u32.set([at.weights, at.scales, at.x, at.queries, WASM_FORMATS.indexOf(format), columns, rowBytes, scaleRowBytes, group]);
      args.u32.set([inputStride * 4, heads, rows, cacheWidth(queries) * 4, WASM_SCALINGS.indexOf(scaling), span], 9);
      return ({ items }) => {
        args.u32[15] = items;
        call("absorb", args, heads * ceilDiv(columns, span), rows * span * items / heads);
      };
    };
  },
};
