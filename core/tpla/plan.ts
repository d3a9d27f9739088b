/**
 * What a split costs, before anything is loaded: bytes of cache per token and rank, and bytes on the wire per token.
 *
 * @module
 */
import { type CacheDtype, type IndexDtype, indexDtypeFor } from "../cache/cache_dtype.ts";
import { q8Slot } from "../cache/q8_slot.ts";
import { indexedLayers, type ModelSpec } from "../model/spec.ts";
import type { PartitionOptions, RankShape } from "./partition.ts";

/** Values one rank caches of a token that it keeps, per layer: |K_i| + d_r, as a mean over layers. */
export function cachedWidth(spec: ModelSpec, { latents }: RankShape): number {
  return latents.reduce((sum, { keyWidth }) => sum + keyWidth, 0) / latents.length + spec.rope.width;
}

/**
 * Bytes one rank caches of a token that it keeps, all layers; of latents in eight bits, with their scales. Of index keys it has all tokens': for each token that it keeps,
 * those of as many as there are shares.
 */
export function cacheBytesPerToken(spec: ModelSpec, shape: RankShape, dtype: CacheDtype, indexDtype: IndexDtype = indexDtypeFor(dtype)): number {
  const ropeWidth = spec.rope.width;
  return shape.latents.reduce((sum, { keyWidth, scaleGroups: groups }) => {
    return sum + (dtype === "q8" ? q8Slot({ keyWidth, ropeWidth, groups }).bytes : (keyWidth + ropeWidth) * (dtype === "f16" ? 2 : 4));
  }, shape.tokens.of * indexBytesPerToken(spec, indexDtype));
}

/** Bytes of index keys that every rank caches of every token beside latents, all layers that choose tokens; in eight bits with their scales. */
export function indexBytesPerToken(spec: ModelSpec, dtype: IndexDtype): number {
  const keyWidth = spec.indexer?.width ?? 0;
  const bytes = dtype === "fp8" ? q8Slot({ keyWidth, ropeWidth: 0, groups: [keyWidth] }).bytes : keyWidth * (dtype === "f32" ? 4 : 2);
  return bytes * indexedLayers(spec).length;
}

/** Bytes a prefill worker hands over per prompt token, all layers and ranks: Σ (|K_i| + d_r) over the ranks that keep the token, and index keys to all. */
export function handoffBytesPerToken(spec: ModelSpec, shapes: readonly RankShape[], dtype: CacheDtype, indexDtype?: IndexDtype): number {
  return shapes.reduce((sum, shape) => sum + (shape.tokens.index === 0 ? cacheBytesPerToken(spec, shape, dtype, indexDtype) : 0), 0);
}

/** What is `perKept` of each token that a rank keeps, as a mean over all tokens. */
export function perToken({ tokens: { of } }: Pick<RankShape, "tokens">, perKept: number): number {
  return perKept / of;
}

/** Sums of one decode step: after attention and, where ranks share them, after the feed-forward block of every layer. */
function sumsPerStep(spec: ModelSpec, { ranks, feedForward }: PartitionOptions): number {
  return ranks === 1 ? 0 : (feedForward === "replicated" ? 1 : 2) * spec.layers;
}

/** Exchanges of log-sum-exps in a step, by which ranks that share latents by tokens weigh what they sum. */
function weighingsPerStep(spec: ModelSpec, { tokenShares = 1 }: PartitionOptions): number {
  return tokenShares === 1 ? 0 : spec.layers;
}

/** Exchanges of one decode step: its sums, and where ranks share latents by tokens a small one in front of each sum after attention. */
export function collectivesPerStep(spec: ModelSpec, cut: PartitionOptions): number {
  return sumsPerStep(spec, cut) + weighingsPerStep(spec, cut);
}

/** Bytes one rank sends per generated token when every rank sends what it has to every other. @param wire what partial results are sent as; log-sum-exps are f32 */
export function wireBytesPerToken(spec: ModelSpec, cut: PartitionOptions, wire: "f16" | "f32"): number {
  const sums = sumsPerStep(spec, cut) * spec.hiddenSize * (wire === "f16" ? 2 : 4);
  return (sums + weighingsPerStep(spec, cut) * spec.heads * 4) * (cut.ranks - 1);
}

/** Bytes that one rank takes of its device. */
export interface RankMemory {
  readonly weightBytes: number;
  /** The part of them that only prompts read, where attention is cut in one way for them and in another to generate. */
  readonly promptWeightBytes: number;
  /** Of what it generates from, or computes prompts in. */
  readonly cacheBytes: number;
  /** Whole latents of prompts, in a cache beside that. */
  readonly promptCacheBytes: number;
  /** Working memory of a step, whatever its contents. */
  readonly activationBytes: number;
}

/** All of it. */
export function wholeMemory({ weightBytes, cacheBytes, promptCacheBytes, activationBytes }: RankMemory): number {
  return weightBytes + cacheBytes + promptCacheBytes + activationBytes;
}
