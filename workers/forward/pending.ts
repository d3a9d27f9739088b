/**
 * What a block leaves for the residual stream to take in, and where it is.
 *
 * @module
 */
import type { ModelSpec } from "../../core/model/spec.ts";
import type { BoundKernel } from "../../kernels/device/device.ts";
import { moeCombine, type MoeCombineConfig } from "../../kernels/moe_combine/moe_combine.ts";
import type { RankPartsConfig } from "../../kernels/rank_parts/rank_parts.ts";
import { mostRows } from "./activations.ts";
import type { ModelContext } from "./context.ts";
import type { MoeWeights } from "./weights.ts";

/**
 * What the residual stream has yet to take in after a block: `delta`, with or without what experts left apart from it; `parts`: this rank's part of it, and the
 * others', which are to be exchanged first. `shares`: half an attention block, after which ranks exchange what their tokens have come to.
 */
export type Pending = "nothing" | "delta" | "experts" | "parts" | "shares";

/** How what experts give is added to the shared expert's output, or is the output. */
export function combineConfig(spec: ModelSpec, weights: MoeWeights): MoeCombineConfig {
  return { width: spec.hiddenSize, activeExperts: spec.moe!.activeExperts, addToShared: weights.shared !== null };
}

/** Compiles and binds what takes the output of experts into `delta`. */
export async function bindCombine(context: ModelContext, experts: MoeWeights): Promise<BoundKernel<"tokens">> {
  const { device, spec, activations: { gates, expertOut, delta }, limits } = context;
  const combine = await device.compile(moeCombine, combineConfig(spec, experts));
  return combine.bind({ gates, expert_out: expertOut, y: delta }, { tokens: mostRows(limits) });
}

/** Ranks' parts of a block's output, and where they are; null for a rank that is alone. */
export function partsOf({ spec, group: { rank, ranks, wire }, activations: { delta, sentPart, otherParts } }: ModelContext) {
  if (ranks === 1) return null;
  const config: RankPartsConfig = { width: spec.hiddenSize, rank, ranks, wire };
  return { config, buffers: { own: wire === "f32" ? delta : sentPart, others: otherParts } };
}
