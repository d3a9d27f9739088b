/**
 * Attention of a prefill chunk over expanded keys and values, one window of the context at a time.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel, type Params } from "../authoring/contract.ts";
import { unroll } from "../authoring/unroll.ts";
import floats from "./floats.wgsl" with { type: "text" };
import source from "./mla_prefill.wgsl" with { type: "text" };
import vectors from "./vectors.wgsl" with { type: "text" };

/** Threads that share four queries; each takes two keys. */
const LANES = 16;
/** Queries and keys of a tile. */
const TILE = 2 * LANES;
/** Fours of columns that are multiplied at a time. */
const CHUNK = 8;

/** Head shapes, and what q·k is multiplied by. */
export interface MlaPrefillConfig {
  readonly heads: number;
  readonly nopeWidth: number;
  readonly ropeWidth: number;
  readonly valueWidth: number;
  readonly scale: number;
}

/** Bindings of {@link mlaPrefill}. */
export type MlaPrefillBindings = "q" | "keys" | "rope_keys" | "values" | "state" | "out";

/**
 * `first_position`: position of the first query; `window_start`, `window_count`: which positions the keys are; `last`: 1 for the window that holds
 * the last visible key. Windows come in order, the first at position 0.
 */
export type MlaPrefillParams = "rows" | "first_position" | "window_start" | "window_count" | "last";

/**
 * q: [rows, heads, d_n + d_r], keys: [window, heads, d_n], rope_keys: [window, d_r], values: [window, heads, d_v] → out: [rows, heads, d_v].
 * `state` ([rows, heads, 2]) carries the running softmax between windows, `out` the sums, which are divided in the last window.
 */
export const mlaPrefill: Kernel<MlaPrefillConfig, MlaPrefillBindings, MlaPrefillParams> = {
  name: "mla_prefill",
  bindings: { q: "read", keys: "read", rope_keys: "read", values: "read", state: "read_write", out: "read_write" },
  params: ["rows", "first_position", "window_start", "window_count", "last"],
  wgsl({ heads, nopeWidth, ropeWidth, valueWidth, scale }) {
    const query = nopeWidth + ropeWidth;
    const numbers = {
      HEADS: heads,
      NOPE: nopeWidth,
      ROPE: ropeWidth,
      VALUE: valueWidth,
      QUERY: query,
      QUERY_QUADS: ceilDiv(query, 4),
      LANES,
      TILE,
      CHUNK,
      TILE_LOADS: TILE * CHUNK / (TILE / 4 * LANES),
      VALUE_STEPS: ceilDiv(valueWidth, 4 * LANES),
    };
    const whole = [nopeWidth, ropeWidth, valueWidth].every((width) => width % 4 === 0);
    return constants(numbers, { SCALE: scale }) + (whole ? vectors : floats) + unroll(source, numbers);
  },
  workgroups: ({ heads }, { rows }) => [ceilDiv(rows, TILE), heads, 1],
  sizes: ({ heads, nopeWidth, ropeWidth, valueWidth }, { rows, window_count }) => ({
    q: rows * heads * (nopeWidth + ropeWidth) * 4,
    keys: window_count * heads * nopeWidth * 4,
    rope_keys: window_count * ropeWidth * 4,
    values: window_count * heads * valueWidth * 4,
    state: rows * heads * 8,
    out: rows * heads * valueWidth * 4,
  }),
  reference: (config, { q, keys, rope_keys, values, state, out }, params) =>
    attendRows(config, { q: q.f32, keys: keys.f32, ropeKeys: rope_keys.f32, values: values.f32, state: state.f32, out: out.f32 }, params),
  wasm({ heads, nopeWidth, ropeWidth, valueWidth, scale }) {
    if ([nopeWidth, ropeWidth, valueWidth].some((width) => width % 4 !== 0)) return null;
    return ({ at, most, allocate, reserve, call }) => {
      reserve((most.window_count + 4) * 8);
      const args = allocate(16);
      args.u32.set([at.q, at.keys, at.rope_keys, at.values, at.state, at.out, heads, nopeWidth, ropeWidth, valueWidth]);
      args.f32[10] = scale;
      return ({ rows, first_position, window_start, window_count, last }) => {
        args.u32.set([rows, first_position, window_start, window_count, last], 11);
        call("mla_prefill", args, heads * ceilDiv(rows, 2), window_count * (nopeWidth + ropeWidth + valueWidth));
      };
    };
  },
};

/** What attention on the host reads and writes. */
interface HostRows {
  readonly q: Float32Array;
  readonly keys: Float32Array | Float16Array;
  readonly ropeKeys: Float32Array | Float16Array;
  readonly values: Float32Array | Float16Array;
  readonly state: Float32Array;
  readonly out: Float32Array;
}

/** The reference of {@link mlaPrefill}, for keys and values of either precision. */
export function attendRows(config: MlaPrefillConfig, buffers: HostRows, params: Params<MlaPrefillParams>): void {
  const scores = new Float64Array(params.window_count);
  for (let row = 0; row < params.rows; row++) {
    for (let head = 0; head < config.heads; head++) attendRow(config, buffers, params, row, head, scores);
  }
}

function attendRow(
  { heads, nopeWidth, ropeWidth, valueWidth, scale }: MlaPrefillConfig,
  { q, keys, ropeKeys, values, state, out }: HostRows,
  { first_position, window_start, window_count, last }: Params<MlaPrefillParams>,
  row: number,
  head: number,
  scores: Float64Array,
): void {
  const item = row * heads + head;
  const fresh = window_start === 0;
  let largest = fresh ? -Infinity : state[item * 2];
  const before = largest;
  const visible = Math.min(window_count, Math.max(0, first_position + row + 1 - window_start));
  const query = item * (nopeWidth + ropeWidth);
  for (let key = 0; key < visible; key++) {
    const score = scale *
      (dot(q, query, keys, (key * heads + head) * nopeWidth, nopeWidth) + dot(q, query + nopeWidth, ropeKeys, key * ropeWidth, ropeWidth));
    scores[key] = score;
    if (score > largest) largest = score;
  }
  const shrink = fresh ? 0 : Math.exp(before - largest);
  let total = fresh ? 0 : state[item * 2 + 1] * shrink;
  const sums = new Float64Array(valueWidth);
  if (!fresh) { for (let c = 0; c < valueWidth; c++) sums[c] = out[item * valueWidth + c] * shrink; }
  for (let key = 0; key < visible; key++) {
    const p = Math.exp(scores[key] - largest);
    total += p;
    const at = (key * heads + head) * valueWidth;
    for (let c = 0; c < valueWidth; c++) sums[c] += p * values[at + c];
  }
  state[item * 2] = largest;
  state[item * 2 + 1] = total;
  // Divided as they would be after a later window that shows this row nothing: results must not depend on where a chunk ends.
  const divisor = last === 1 ? Math.fround(total) : 1;
  for (let c = 0; c < valueWidth; c++) out[item * valueWidth + c] = Math.fround(sums[c]) / divisor;
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
