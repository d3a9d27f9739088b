/**
 * Linear layers on a `wasm` device: items are gathered into batches of one matrix each, whose rows are shared out.
 *
 * @module
 */
import { type MatrixLayout, QUANT_GROUP, type WeightFormat } from "../../core/model/packing.ts";
import { ceilDiv } from "../../core/numeric.ts";
import type { Params } from "../authoring/contract.ts";
import { type MoePlan, planOf, readTiles, TILE_ITEMS } from "../moe_plan/layout.ts";
import { type ByteDots, WASM_FORMATS, WASM_SCALINGS, type WasmArguments, type WasmBinding, type WasmProgram } from "../authoring/wasm_program.ts";
import type { LinearBindings, LinearConfig, LinearParams } from "./linear.ts";
import { itemsPerInput } from "./select.ts";

/** Rows that are multiplied together; eight by many inputs of eight bits, for which weights are laid out anew. */
const [ROWS, TILE_ROWS] = [4, 8];
/** Items of a batch that are many. */
const MANY = 8;
/** Rows among which those of a piece are (kernels/linear/row_order.as): of FP8 as many as have the same scales in any matrix that is made of several. */
const [BLOCK, FP8_BLOCK] = [128, 32];
/** Bytes of a row below which rows beside each other come from memory as quickly. */
const LONG_ROW = 512;
/** Bytes of inputs that stay in a processor's cache while rows go by. */
const INPUTS_AT_ONCE = 1 << 18;
/** Items of a batch, however long they are. */
const LEAST_ITEMS = 8;
/** Columns whose split inputs lie together, and their bytes (kernels/linear/dot_int4.as). */
const [SPLIT_COLUMNS, SPLIT_BYTES] = [32, 128];
/** Bytes of the sums of a tile (kernels/linear/rounded_tile.as). */
const TILE_SUMS = 128;
/** Bytes before rows as f32 (kernels/linear/floats.as). */
const WORK_BYTES = 320;
/** Words of a batch. */
const BATCH_WORDS = 5;

/** Items of one matrix: of a list in memory, or every step-th from the first. */
export interface WasmBatch {
  readonly matrix: number;
  /** Address of a list of items; 0: none. */
  readonly list: number;
  readonly first: number;
  readonly step: number;
  readonly count: number;
}

/** Whether weights are levels as checkpoints have them, which linear_int4 reads in all their forms. */
function isLevels({ format }: MatrixLayout): boolean {
  return format === "int4" || format === "int8";
}

/** Whether inputs can be split for them. */
function splits({ format, group }: MatrixLayout): boolean {
  return format === "int4" && group % SPLIT_COLUMNS === 0;
}

/** Whether weights that lie so can be read: what shares a scale is whole sixteens. */
export function wasmReads({ format, group }: MatrixLayout): boolean {
  return WASM_FORMATS.includes(format) && group % 16 === 0;
}

/** Bytes that products of floats work with: rows as f32, of which what is widened sixteen at a time ends behind the last column, and inputs in whole fours. */
function floatScratch(columns: number, items: number): number {
  return WORK_BYTES + (ROWS + ceilDiv(items, 4) * 4) * ceilDiv(columns, 4) * 16 + 48;
}

/**
 * Products of every row of x with every row of weights, both of f32 and one row after the other: y[row, output] = Σ_k x[row, k] · weights[output, k], where rows of y
 * may be longer. Of columns that are whole fours.
 *
 * @returns what runs it with as many rows of each, and floats of a row of y
 */
export function productsOf<B extends string, P extends string>(
  { allocate, reserve, call, most, wide }: Pick<WasmBinding<B, P | "rows">, "allocate" | "reserve" | "call" | "most" | "wide">,
  { weights, x, y, columns }: { readonly weights: number; readonly x: number; readonly y: number; readonly columns: number },
): (sizes: { readonly rows: number; readonly outputs: number; readonly stride: number }) => void {
  const bytes = columns * 4;
  const itemsAtOnce = Math.max(LEAST_ITEMS, Math.floor(INPUTS_AT_ONCE / bytes));
  reserve(floatScratch(columns, Math.min(itemsAtOnce, most.rows)));
  const args = allocate(20);
  const batches = allocate(ceilDiv(most.rows, itemsAtOnce) * BATCH_WORDS);
  const [format, scaling] = [WASM_FORMATS.indexOf("f32"), WASM_SCALINGS.indexOf("none")];
  args.u32.set([weights, weights, x, y, batches.address, format, columns, bytes, 0, columns, bytes, 1]);
  return ({ rows, outputs, stride }) => {
    let count = 0;
    for (let first = 0; first < rows; first += itemsAtOnce) {
      batches.u32.set([0, 0, first, 1, Math.min(itemsAtOnce, rows - first)], count++ * BATCH_WORDS);
    }
    args.u32.set([stride, 0, 0, outputs, Math.log2(bytes < LONG_ROW ? ROWS : BLOCK), Math.log2(ROWS), wide ? 1 : 0, scaling], 12);
    call("linear", args, count * ceilDiv(outputs, ROWS), ROWS * columns * rows / Math.max(1, count));
  };
}

/**
 * What linear layers of a config have in common.
 *
 * @param batchesOf the batches of a run, of most of which there are `mostBatches`
 * @param int4 what multiplies weights in int4: `dot_int4` is quicker for few rows, `linear_int4` for many
 */
export function linearProgram<B extends string, P extends string>(
  config: LinearConfig & { readonly adds?: boolean },
  batchesOf: (binding: WasmBinding<B | LinearBindings, P | LinearParams>) => (params: Params<P | LinearParams>) => readonly WasmBatch[],
  int4: "dot_int4" | "linear_int4",
): WasmProgram<B | LinearBindings, P | LinearParams> | null {
  const { layout, input, select, outputs, inputStride, adds = false } = config;
  if (!wasmReads(layout) || input === "rounded") return null;
  const perInput = itemsPerInput(select);
  return (binding) => {
    const { at, most } = binding;
    const rounds = layout.format === "q8" || layout.format === "q4";
    const rows = rounds ? TILE_ROWS : ROWS;
    const inputRows = ceilDiv(most.items, perInput);
    const activated = input === "gated" ? binding.share("activated", inputRows * layout.columns) : null;
    const plain = { x: activated?.address ?? at.x, inputBytes: activated === null ? inputStride * 4 : layout.columns * 4 };
    const activate = activated === null ? null : activation(binding, at.x, activated.address, layout.columns, inputStride * 4);
    const kernel = rounds ? "linear_rounded" : isLevels(layout) ? splits(layout) ? int4 : "linear_int4" : "linear";
    const rounding = rounds
      ? roundRows(binding, plain, layout, inputRows)
      : kernel === "dot_int4"
      ? splitRows(binding, plain, layout.columns, inputRows)
      : null;
    const { x, inputBytes } = rounding ?? plain;
    const itemsAtOnce = Math.max(LEAST_ITEMS, Math.floor(INPUTS_AT_ONCE / inputBytes));
    // Weights laid out anew with their scales, or floats.
    const scratch = rounds
      ? rows * ceilDiv(layout.columns, QUANT_GROUP) * (QUANT_GROUP + 4) + TILE_SUMS
      : floatScratch(layout.columns, Math.min(itemsAtOnce, most.items));
    binding.reserve(scratch);
    const args = binding.allocate(20);
    const batches = binding.allocate(mostBatches(config, most) * BATCH_WORDS);
    args.u32[16] = Math.log2(layout.rowBytes < LONG_ROW ? rows : layout.format === "fp8" ? FP8_BLOCK : BLOCK);
    args.u32[18] = binding.wide ? 1 : 0;
    args.u32[19] = WASM_SCALINGS.indexOf(layout.scaling);
    args.u32.set([
      at.weights,
      at.scales,
      x,
      at.y,
      batches.address,
      rounding?.way ?? WASM_FORMATS.indexOf(layout.format),
      layout.columns,
      layout.rowBytes,
      layout.scaleRowBytes,
      layout.group,
      inputBytes,
      perInput,
      outputs,
      adds ? 1 : 0,
    ]);
    const gather = batchesOf(binding);
    return (params) => {
      const { items, first_matrix, matrices, first_output, part_outputs } = params;
      activate?.(ceilDiv(items, perInput));
      rounding?.run(ceilDiv(items, perInput));
      let count = 0;
      let largest = 0;
      for (const { matrix, list, first, step, count: all } of gather(params)) {
        if (matrix < first_matrix || matrix >= first_matrix + matrices) continue;
        largest = Math.max(largest, all);
        for (let done = 0; done < all; done += itemsAtOnce) {
          const start = first + done * (list === 0 ? step : 1);
          batches.u32.set([(matrix - first_matrix) * outputs, list, start, step, Math.min(itemsAtOnce, all - done)], count++ * BATCH_WORDS);
        }
      }
      args.u32[14] = first_output;
      args.u32[15] = part_outputs;
      const pieceRows = rounds && largest < MANY ? ROWS : rows;
      args.u32[17] = Math.log2(pieceRows);
      binding.call(kernel, args, count * ceilDiv(part_outputs, pieceRows), pieceRows * layout.columns * items / Math.max(1, count));
    };
  };
}

/** A plan gives batches of {@link TILE_ITEMS} at most, of which every matrix may have one that is not full; each of them may be cut once more. */
function mostBatches({ select }: LinearConfig, { items, matrices }: Params<"items" | "matrices">): number {
  const most = select.kind === "head" ? select.heads : matrices;
  return ceilDiv(items, LEAST_ITEMS) + ceilDiv(items, TILE_ITEMS) + Math.min(items, most);
}

function activation(
  binding: WasmBinding<string, string>,
  x: number,
  y: number,
  columns: number,
  inputBytes: number,
): (rows: number) => void {
  const args = binding.allocate(4);
  args.u32.set([x, y, columns, inputBytes]);
  return (rows) => binding.call("activate", args, rows, 8 * columns);
}

/**
 * How weights are multiplied by inputs of eight bits, in the order of their numbers in rounded.as: for which dot products of bytes, and what is stored above what is
 * meant there.
 */
const ROUNDED_WAYS: readonly { readonly format: WeightFormat; readonly byteDots: readonly ByteDots[]; readonly above: number }[] = [
  { format: "q4", byteDots: ["unsigned", "signed"], above: 8 },
  { format: "q8", byteDots: ["unsigned"], above: 128 },
  { format: "q8", byteDots: ["signed"], above: 0 },
  { format: "q8", byteDots: [null], above: 0 },
  { format: "q4", byteDots: [null], above: 8 },
];

/** Inputs that share a scale: fewer for q8, where rounding inputs would otherwise cost as much as rounding weights did. */
const INPUT_GROUPS: Readonly<Record<"q4" | "q8", number>> = { q4: 64, q8: 32 };

/** Inputs of weights in q8 and q4, which are rounded to eight bits: integers are multiplied several times as fast. */
function roundRows(
  binding: WasmBinding<string, string>,
  { x, inputBytes }: { readonly x: number; readonly inputBytes: number },
  { format, columns }: MatrixLayout,
  rows: number,
): Integers {
  const way = ROUNDED_WAYS.findIndex((way) => way.format === format && way.byteDots.includes(binding.byteDots));
  const group = INPUT_GROUPS[format as "q4" | "q8"];
  const bytes = ceilDiv(columns, QUANT_GROUP) * (QUANT_GROUP + 8 * QUANT_GROUP / group);
  const { address } = binding.share("integers", rows * bytes / 4);
  const args = binding.allocate(8);
  args.u32.set([x, address, columns, inputBytes, bytes, ROUNDED_WAYS[way].above, format === "q4" ? 1 : 0, group]);
  return { way, x: address, inputBytes: bytes, run: (rows) => binding.call("round", args, rows, 4 * columns) };
}

/** Inputs of weights in int4, which are split into three digits of eight bits: bytes are multiplied faster even so. */
function splitRows(
  binding: WasmBinding<string, string>,
  { x, inputBytes }: { readonly x: number; readonly inputBytes: number },
  columns: number,
  rows: number,
): Integers {
  const bytes = ceilDiv(columns, SPLIT_COLUMNS) * SPLIT_BYTES;
  const { address } = binding.share("integers", rows * bytes / 4);
  const args = binding.allocate(5);
  args.u32.set([x, address, columns, inputBytes, bytes]);
  return { x: address, inputBytes: bytes, run: (rows) => binding.call("split", args, rows, 4 * columns) };
}

/** Inputs as integers. */
interface Integers {
  /** How weights are multiplied by those of eight bits, a place in {@link ROUNDED_WAYS}. */
  readonly way?: number;
  readonly x: number;
  readonly inputBytes: number;
  run(rows: number): void;
}

/** Items as decode has them, by what they select. */
export function decodeBatches(
  { select }: LinearConfig,
): (binding: WasmBinding<LinearBindings, LinearParams>) => (params: Params<LinearParams>) => readonly WasmBatch[] {
  switch (select.kind) {
    case "all":
      return () => ({ items }) => [{ matrix: 0, list: 0, first: 0, step: 1, count: items }];
    case "head":
      return () => ({ items }) =>
        Array.from({ length: Math.min(select.heads, items) }, (_, head) => (
          { matrix: head, list: 0, first: head, step: select.heads, count: ceilDiv(items - head, select.heads) }
        ));
    case "expert":
      return (binding) => {
        const list = binding.allocate(binding.most.items);
        return ({ items }) => sortByRoute(list, binding.views.routes.u32.subarray(0, items));
      };
    default:
      return select satisfies never;
  }
}

/** Items as a plan has them, or all. */
export function plannedBatches(
  plan: MoePlan | null,
): (binding: WasmBinding<LinearBindings, LinearParams>) => (params: Params<LinearParams>) => readonly WasmBatch[] {
  if (plan === null) return () => ({ items }) => [{ matrix: 0, list: 0, first: 0, step: 1, count: items }];
  const { items } = planOf(plan);
  return ({ at, views }) => {
    const list = at.routes + items * 4;
    return () =>
      readTiles(plan, views.routes.u32).map(({ matrix, items }) => (
        { matrix, list, first: (items.byteOffset - list) / 4, step: 0, count: items.length }
      ));
  };
}

/** Items of each expert, after each other, in their order. */
function sortByRoute(list: WasmArguments, routes: Uint32Array): WasmBatch[] {
  const byExpert = new Map<number, number[]>();
  routes.forEach((expert, item) => {
    const items = byExpert.get(expert);
    if (items === undefined) byExpert.set(expert, [item]);
    else items.push(item);
  });
  let first = 0;
  return Array.from(byExpert, ([matrix, items]) => {
    list.u32.set(items, first);
    first += items.length;
    return { matrix, list: list.address, first: first - items.length, step: 0, count: items.length };
  });
}
