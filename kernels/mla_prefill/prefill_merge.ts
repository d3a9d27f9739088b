/**
 * Merges the splits of prefill attention, in their order.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { unroll } from "../authoring/unroll.ts";
import type { MlaPrefillConfig } from "./mla_prefill.ts";
import source from "./prefill_merge.wgsl" with { type: "text" };

/** Threads of a workgroup, each of which has every 64th column. */
const THREADS = 64;

/** Configuration of {@link prefillMerge}. */
export interface PrefillMergeConfig extends Pick<MlaPrefillConfig, "heads" | "valueWidth" | "split"> {
  /** Whether references count powers of two, as on matrix units, and not of e. */
  readonly powersOfTwo: boolean;
}

/**
 * `first_position`: position of the first query; `start`, `end`: positions of the splits, of which those that begin with `start` = 0 are the first; `last`: 1 if they
 * are the last, and sums are to be divided; `split_rows`: rows of all splits together.
 */
export type PrefillMergeParams = "rows" | "first_position" | "start" | "end" | "last" | "split_rows";

/**
 * split_state: [splits, rows, heads, 2], split_out: [splits, rows, heads, d_v], as {@link mlaPrefill} leaves them → out: [rows, heads, d_v], which with `state`
 * ([rows, heads, 2]) carries what was merged until the last splits have come. The same to the last bit however many come at once.
 */
export const prefillMerge: Kernel<PrefillMergeConfig, "split_state" | "split_out" | "state" | "out", PrefillMergeParams> = {
  name: "prefill_merge",
  bindings: { split_state: "read", split_out: "read", state: "read_write", out: "read_write" },
  params: ["rows", "first_position", "start", "end", "last", "split_rows"],
  wgsl({ heads, valueWidth, split, powersOfTwo }) {
    const numbers = { HEADS: heads, VALUE: valueWidth, SPLIT: split, THREADS, STEPS: ceilDiv(valueWidth, THREADS) };
    return constants(numbers) + unroll(source, numbers).replaceAll("EXP(", powersOfTwo ? "exp2(" : "exp(");
  },
  workgroups: ({ heads }, { rows }) => [heads, rows, 1],
  sizes: ({ heads, valueWidth }, { rows, split_rows }) => ({
    split_state: split_rows * heads * 8,
    split_out: split_rows * heads * valueWidth * 4,
    state: rows * heads * 8,
    out: rows * heads * valueWidth * 4,
  }),
  reference({ heads, valueWidth, split, powersOfTwo }, { split_state, split_out, state, out }, { rows, first_position, start, end, last }) {
    const exp = (power: number) => powersOfTwo ? 2 ** power : Math.exp(power);
    for (let item = 0; item < rows * heads; item++) {
      const sums = out.f32.subarray(item * valueWidth, (item + 1) * valueWidth);
      const visible = Math.min(end, first_position + Math.floor(item / heads) + 1);
      for (let at = 0; start + at * split < visible; at++) {
        const from = at * rows * heads + item;
        const begins = start === 0 && at === 0;
        const before = begins ? -Infinity : state.f32[item * 2];
        const other = split_state.f32[from * 2];
        const next = Math.max(before, other);
        const [kept, added] = [exp(before - next), exp(other - next)];
        state.f32[item * 2] = next;
        state.f32[item * 2 + 1] = (begins ? 0 : state.f32[item * 2 + 1] * kept) + split_state.f32[from * 2 + 1] * added;
        for (let c = 0; c < valueWidth; c++) sums[c] = (begins ? 0 : sums[c] * kept) + split_out.f32[from * valueWidth + c] * added;
      }
      if (last === 1) { for (let c = 0; c < valueWidth; c++) sums[c] /= state.f32[item * 2 + 1]; }
    }
  },
  wasm({ heads, valueWidth, split, powersOfTwo }) {
    if (valueWidth % 4 !== 0 || powersOfTwo) return null;
    return ({ at, allocate, call }) => {
      const args = allocate(12);
      args.u32.set([at.split_state, at.split_out, at.state, at.out, heads, valueWidth, split]);
      return ({ rows, first_position, start, end, last }) => {
        args.u32.set([rows, first_position, start, end, last], 7);
        call("prefill_merge", args, rows * heads, ceilDiv(end - start, split) * valueWidth);
      };
    };
  },
};
