/**
 * A layer, bound: each of its blocks with what comes before it.
 *
 * @module
 */
import { Attention } from "./attention.ts";
import { type Block, BlockPreparation } from "./block.ts";
import type { ModelContext } from "./context.ts";
import { createFeedForward } from "./feed_forward.ts";
import { isMoe, type LayerWeights, type MoeWeights } from "./weights.ts";

/** A block with what comes before it. */
export interface PreparedBlock {
  readonly preparation: BlockPreparation;
  readonly block: Block;
}

/** One layer. */
export interface Layer {
  readonly attention: PreparedBlock & { readonly block: Attention };
  readonly feedForward: PreparedBlock;
}

/** Compiles and binds layer `index`. @param before the weights of the layer before it, if there is one */
export async function createLayer(context: ModelContext, weights: LayerWeights, index: number, before: LayerWeights | undefined): Promise<Layer> {
  const { attentionNorm, attention, feedForwardNorm } = weights;
  const [beforeAttention, attentionBlock, beforeFeedForward, feedForwardBlock] = await Promise.all([
    BlockPreparation.create(context, attentionNorm, expertsOf(before)),
    Attention.create(context, attention, attentionNorm, index),
    BlockPreparation.create(context, feedForwardNorm, null),
    createFeedForward(context, weights, before),
  ]);
  return {
    attention: { preparation: beforeAttention, block: attentionBlock },
    feedForward: { preparation: beforeFeedForward, block: feedForwardBlock },
  };
}

/** What a layer leaves for the next to take in, beside its output. */
export function expertsOf(layer: LayerWeights | undefined): MoeWeights | null {
  return layer !== undefined && isMoe(layer.feedForward) ? layer.feedForward : null;
}
