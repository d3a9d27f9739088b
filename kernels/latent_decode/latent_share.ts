/**
 * A rank's part of decode attention where ranks share latents by tokens: its splits, each weighed against all that a row attends to on every rank. The parts of all ranks
 * add up to what one rank with all tokens would have.
 *
 * @module
 */
import type { Range } from "../../core/model/matrix_source.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { type LatentMergeConfig, mergeWgsl, mergeWorkgroups } from "./latent_merge.ts";
import { contextOf, partialWidth, splitCount } from "./splits.ts";
import weighedTogether from "./weighed_together.wgsl" with { type: "text" };

/** Configuration of {@link latentShare}: that of the merge that it takes the place of, and whose sums there are. */
export interface LatentShareConfig extends LatentMergeConfig {
  readonly rank: number;
  /** Whose sums are in `others`, together with this rank. */
  readonly ranks: number;
  /** Those that share the latents of which this rank has some; it is one of them. */
  readonly sharing: Range;
}

/**
 * partial: [rows, heads, mostSplits, partialWidth]; own, others: [rows, heads] and [ranks - 1, rows, heads], log-sum-exps of ranks in their order →
 * y: [rows, heads, valueWidth], zeros of a rank that has no token of a row.
 */
export const latentShare: Kernel<LatentShareConfig, "step" | "partial" | "y" | "own" | "others", "rows"> = {
  name: "latent_share",
  bindings: { step: "read", partial: "read", y: "read_write", own: "read", others: "read" },
  params: ["rows"],
  wgsl: ({ rank, sharing, ranks: _, ...config }) =>
    constants({ RANK: rank, FIRST_RANK: sharing.begin, END_RANK: sharing.end }) + mergeWgsl(config, weighedTogether),
  workgroups: (config, { rows }) => mergeWorkgroups(config, rows),
  sizes: ({ heads, valueWidth, mostSplits, output, ranks }, { rows }) => ({
    step: rows * 16,
    partial: rows * heads * mostSplits * partialWidth(valueWidth) * 4,
    y: rows * heads * valueWidth * (output === "f16" ? 2 : 4),
    own: rows * heads * 4,
    others: (ranks - 1) * rows * heads * 4,
  }),
  reference(config, { step, partial, y, own, others }, { rows }) {
    const { heads, valueWidth, mostSplits, output, rank, sharing: { begin, end } } = config;
    const to = output === "f16" ? y.f16 : y.f32;
    const width = partialWidth(valueWidth);
    const items = rows * heads;
    for (let item = 0; item < items; item++) {
      const sums = Array.from({ length: end - begin }, (_, i) => {
        const other = begin + i;
        return other === rank ? own.f32[item] : others.f32[(other > rank ? other - 1 : other) * items + item];
      });
      const largest = Math.max(...sums);
      const reference = largest + Math.log(sums.reduce((total, sum) => total + Math.exp(sum - largest), 0));
      const splits = splitCount(contextOf(step.u32, Math.floor(item / heads)), config);
      const from = item * mostSplits * width;
      const weights = Float64Array.from({ length: splits }, (_, s) => Math.exp(partial.f32[from + s * width + valueWidth] - reference));
      for (let c = 0; c < valueWidth; c++) {
        to[item * valueWidth + c] = weights.reduce((sum, weight, s) => sum + weight * partial.f32[from + s * width + c], 0);
      }
    }
  },
  wasm({ heads, valueWidth, usualSplits, mostSplits, stripTokens, output, rank, sharing }) {
    if (valueWidth % 4 !== 0 || output === "f16" || usualSplits !== mostSplits) return null;
    return ({ at, allocate, reserve, call }) => {
      reserve(mostSplits * 4);
      const args = allocate(14);
      args.u32.set([at.step, at.partial, at.y, at.own, at.others, heads, valueWidth, partialWidth(valueWidth) * 4, mostSplits, stripTokens]);
      args.u32.set([rank, sharing.begin, sharing.end], 10);
      return ({ rows }) => {
        args.u32[13] = rows;
        call("latent_share", args, rows * heads, valueWidth * 8);
      };
    };
  },
};
