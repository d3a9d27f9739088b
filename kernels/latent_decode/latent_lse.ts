/**
 * What a rank that keeps a share of a sequence's tokens has come to in decode attention: the log-sum-exp of each head's scores, by which ranks weigh what they add up.
 *
 * @module
 */
import { constants, type Kernel } from "../authoring/contract.ts";
import type { LatentDecodeConfig } from "./latent_decode.ts";
import source from "./latent_lse.wgsl" with { type: "text" };
import { contextOf, partialWidth, splitCount, splitsWgsl, type Splitting } from "./splits.ts";

/** Configuration of {@link latentLse}: that of the attention before it. */
export type LatentLseConfig = Splitting & Pick<LatentDecodeConfig, "heads" | "valueWidth">;

/** What a share without tokens comes to: next to it, everything else is all there is. */
export const LOWEST_SUM = -3e38;

const THREADS = 64;

/** partial: [rows, heads, mostSplits, partialWidth] → lse: [rows, heads], log Σ exp(score) over the tokens that the row attends to here. */
export const latentLse: Kernel<LatentLseConfig, "step" | "partial" | "lse", "rows"> = {
  name: "latent_lse",
  bindings: { step: "read", partial: "read", lse: "read_write" },
  params: ["rows"],
  wgsl: ({ heads, valueWidth, ...splitting }) =>
    constants({ HEADS: heads, VALUE_WIDTH: valueWidth, PARTIAL_WIDTH: partialWidth(valueWidth), THREADS }, { LOWEST: LOWEST_SUM }) +
    splitsWgsl(splitting) + source,
  workgroups: ({ heads }, { rows }) => [heads, rows, 1],
  sizes: ({ heads, valueWidth, mostSplits }, { rows }) => ({
    step: rows * 16,
    partial: rows * heads * mostSplits * partialWidth(valueWidth) * 4,
    lse: rows * heads * 4,
  }),
  reference(config, { step, partial, lse }, { rows }) {
    const { heads, valueWidth, mostSplits } = config;
    const width = partialWidth(valueWidth);
    for (let item = 0; item < rows * heads; item++) {
      const splits = splitCount(contextOf(step.u32, Math.floor(item / heads)), config);
      const at = (split: number) => (item * mostSplits + split) * width + valueWidth;
      let largest = -Infinity;
      for (let s = 0; s < splits; s++) largest = Math.max(largest, partial.f32[at(s)]);
      let total = 0;
      for (let s = 0; s < splits; s++) total += Math.exp(partial.f32[at(s)] - largest) * partial.f32[at(s) + 1];
      lse.f32[item] = splits === 0 ? LOWEST_SUM : largest + Math.log(total);
    }
  },
  wasm({ heads, valueWidth, usualSplits, mostSplits, stripTokens }) {
    if (usualSplits !== mostSplits) return null;
    return ({ at, allocate, call }) => {
      const args = allocate(8);
      args.u32.set([at.step, at.partial, at.lse, heads, valueWidth, partialWidth(valueWidth) * 4, mostSplits, stripTokens]);
      return ({ rows }) => call("latent_lse", args, rows * heads, mostSplits * 8);
    };
  },
};
