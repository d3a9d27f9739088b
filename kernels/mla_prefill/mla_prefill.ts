/**
 * Attention of a prefill chunk over expanded keys and values, in splits of the context that know nothing of each other ({@link prefillMerge} puts them together).
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel, type Params } from "../authoring/contract.ts";
import type { WasmProgram } from "../authoring/wasm_program.ts";
import { unroll } from "../authoring/unroll.ts";
import allTokens from "./all_tokens.wgsl" with { type: "text" };
import floats from "./floats.wgsl" with { type: "text" };
import source from "./mla_prefill.wgsl" with { type: "text" };
import vectors from "./vectors.wgsl" with { type: "text" };

/** Threads that share four queries; each takes two keys. */
const LANES = 16;
/** Queries and keys of a tile. */
const TILE = 2 * LANES;
/** Fours of columns that are multiplied at a time. */
const CHUNK = 8;

/** Head shapes, what q·k is multiplied by, and positions of a split. */
export interface MlaPrefillConfig {
  readonly heads: number;
  readonly nopeWidth: number;
  readonly ropeWidth: number;
  readonly valueWidth: number;
  readonly scale: number;
  readonly split: number;
}

/** Bindings of {@link mlaPrefill}. */
export type MlaPrefillBindings = "q" | "keys" | "rope_keys" | "values" | "state" | "out";

/**
 * `first_position`: position of the first query; `first`, `end`: which of the keys are attended to, and `start`: the position of the first of them, where a split
 * begins; `split_rows`: rows of all splits together, for which there must be room.
 */
export type MlaPrefillParams = "rows" | "first_position" | "first" | "end" | "start" | "split_rows";

/**
 * q: [rows, heads, d_n + d_r], keys: [positions, heads, d_n], rope_keys: [positions, d_r], values: [positions, heads, d_v] → out: [splits, rows, heads, d_v], sums of
 * values by weights that are relative to a reference, and state: [splits, rows, heads, 2], that reference and the sum of the weights. What a row gets of a split of
 * which it sees nothing is nothing to rely on.
 */
export const mlaPrefill: Kernel<MlaPrefillConfig, MlaPrefillBindings, MlaPrefillParams> = {
  name: "mla_prefill",
  bindings: { q: "read", keys: "read", rope_keys: "read", values: "read", state: "read_write", out: "read_write" },
  params: ["rows", "first_position", "first", "end", "start", "split_rows"],
  wgsl: (config) => prefillWgsl(config, allTokens),
  workgroups: ({ heads, split }, { rows, first, end }) => [ceilDiv(rows, TILE), heads, ceilDiv(end - first, split)],
  sizes: ({ heads, nopeWidth, ropeWidth, valueWidth }, { rows, end, split_rows }) => ({
    q: rows * heads * (nopeWidth + ropeWidth) * 4,
    keys: end * heads * nopeWidth * 4,
    rope_keys: end * ropeWidth * 4,
    values: end * heads * valueWidth * 4,
    state: split_rows * heads * 8,
    out: split_rows * heads * valueWidth * 4,
  }),
  reference: (config, { q, keys, rope_keys, values, state, out }, params) =>
    attendRows(config, { q: q.f32, keys: keys.f32, ropeKeys: rope_keys.f32, values: values.f32, state: state.f32, out: out.f32 }, params),
  wasm: (config) => prefillWasm(config, 0),
};

/** The source. @param attends says which rows attend to a position that they see */
export function prefillWgsl({ heads, nopeWidth, ropeWidth, valueWidth, scale, split }: MlaPrefillConfig, attends: string): string {
  const query = nopeWidth + ropeWidth;
  const numbers = {
    HEADS: heads,
    NOPE: nopeWidth,
    ROPE: ropeWidth,
    VALUE: valueWidth,
    QUERY: query,
    SPLIT: split,
    QUERY_QUADS: ceilDiv(query, 4),
    LANES,
    TILE,
    CHUNK,
    TILE_LOADS: TILE * CHUNK / (TILE / 4 * LANES),
    VALUE_STEPS: ceilDiv(valueWidth, 4 * LANES),
  };
  const whole = [nopeWidth, ropeWidth, valueWidth].every((width) => width % 4 === 0);
  return constants(numbers, { SCALE: scale }) + (whole ? vectors : floats) + attends + unroll(source, numbers);
}

/** The compiled kernel. @param stride words of a row of what is chosen; 0: rows attend to all that they see */
export function prefillWasm<B extends MlaPrefillBindings | "chosen">(
  { heads, nopeWidth, ropeWidth, valueWidth, scale, split }: MlaPrefillConfig,
  stride: number,
): WasmProgram<B, MlaPrefillParams> | null {
  if ([nopeWidth, ropeWidth, valueWidth].some((width) => width % 4 !== 0)) return null;
  return ({ at: addresses, allocate, reserve, call }) => {
    const at = addresses as Readonly<Record<MlaPrefillBindings, number> & Partial<Record<"chosen", number>>>;
    reserve((split + 4) * 8);
    const args = allocate(20);
    args.u32.set([at.q, at.keys, at.rope_keys, at.values, at.state, at.out, heads, nopeWidth, ropeWidth, valueWidth, split]);
    args.f32[11] = scale;
    args.u32.set([at.chosen ?? 0, stride * 4], 17);
    return ({ rows, first_position, first, end, start }) => {
      args.u32.set([rows, first_position, first, end, start], 12);
      const count = Math.min(split, end - first);
      call("mla_prefill", args, ceilDiv(end - first, split) * heads * ceilDiv(rows, 2), count * (nopeWidth + ropeWidth + valueWidth));
    };
  };
}

/** What attention on the host reads and writes. */
interface HostRows {
  readonly q: Float32Array;
  readonly keys: Float32Array | Float16Array;
  readonly ropeKeys: Float32Array | Float16Array;
  readonly values: Float32Array | Float16Array;
  readonly state: Float32Array;
  readonly out: Float32Array;
  /** A bit for each row and position that attends; by default all do that are seen. */
  readonly chosen?: Uint32Array;
}

/** Of a row that attends to nothing in a split: a number, since the difference of two infinities is none. */
const LOWEST = -3e38;

/** The reference of {@link mlaPrefill}, for keys and values of either precision. @param stride words of a row of what is chosen */
export function attendRows(config: MlaPrefillConfig, buffers: HostRows, params: Params<MlaPrefillParams>, stride = 0): void {
  const { split, heads } = config;
  const scores = new Float64Array(split);
  for (let at = 0; params.first + at * split < params.end; at++) {
    for (let row = 0; row < params.rows; row++) {
      for (let head = 0; head < heads; head++) attendRow(config, buffers, params, { at, row, head, stride }, scores);
    }
  }
}

function attendRow(
  { heads, nopeWidth, ropeWidth, valueWidth, scale, split }: MlaPrefillConfig,
  { q, keys, ropeKeys, values, state, out, chosen }: HostRows,
  { rows, first_position, first, end, start }: Params<MlaPrefillParams>,
  { at, row, head, stride }: { readonly at: number; readonly row: number; readonly head: number; readonly stride: number },
  scores: Float64Array,
): void {
  const [firstKey, position] = [first + at * split, start + at * split];
  const visible = Math.min(split, end - firstKey, Math.max(0, first_position + row + 1 - position));
  const query = (row * heads + head) * (nopeWidth + ropeWidth);
  const attends = (at: number) => chosen === undefined || (chosen[row * stride + (at >>> 5)] >>> (at & 31) & 1) === 1;
  let largest = LOWEST;
  for (let i = 0; i < visible; i++) {
    scores[i] = -Infinity;
    if (!attends(position + i)) continue;
    const key = firstKey + i;
    const score = scale *
      (dot(q, query, keys, (key * heads + head) * nopeWidth, nopeWidth) + dot(q, query + nopeWidth, ropeKeys, key * ropeWidth, ropeWidth));
    scores[i] = score;
    if (score > largest) largest = score;
  }
  let total = 0;
  const sums = new Float64Array(valueWidth);
  for (let i = 0; i < visible; i++) {
    const p = Math.exp(scores[i] - largest);
    total += p;
    const from = ((firstKey + i) * heads + head) * valueWidth;
    for (let c = 0; c < valueWidth; c++) sums[c] += p * values[from + c];
  }
  const item = (at * rows + row) * heads + head;
  state[item * 2] = largest;
  state[item * 2 + 1] = total;
  out.set(sums, item * valueWidth);
}

/** Two partial sums halve the wait for each addition. */
function dot(a: Float32Array, i: number, b: Float32Array | Float16Array, j: number, length: number): number {
  let even = 0, odd = 0;
  let d = 0;
  for (; d + 1 < length; d += 2) {
    even += a[i + d] * b[j + d];
    odd += a[i + d + 1] * b[j + d + 1];
  }
  if (d < length) even += a[i + d] * b[j + d];
  return even + odd;
}
