/**
 * `ModelSpec`: everything the forward pass knows about a model. Families (core/model/families) turn a Hugging Face `config.json` into one of these;
 * nothing downstream looks at family names.
 *
 * @module
 */

import type { Int4Spec } from "./int4/int4_spec.ts";
import type { TensorNames } from "./tensor_names.ts";

/** YaRN context extension (arXiv 2309.00071), with DeepSeek's mscale. */
export interface YarnSpec {
  /** By how much the context is extended. */
  readonly factor: number;
  /** Context before the extension. */
  readonly originalMaxPositions: number;
  /** Rotations within the original context above which a pair is left alone. */
  readonly betaFast: number;
  /** Rotations below which a pair is interpolated fully. */
  readonly betaSlow: number;
  /** Round the corrected dimension range to integers, as the reference does by default. */
  readonly truncate: boolean;
  /** What cos and sin are multiplied by. */
  readonly attentionFactor: number;
}

/** LongRoPE (arXiv 2402.13753): each pair has a factor of its own, found by search. */
export interface LongRopeSpec {
  /** What the frequency of each pair is divided by; width / 2 of them. */
  readonly divisors: readonly number[];
  /**
   * Others for sequences within the original context of so many positions, as transformers has it: for prompts of no more tokens, and for tokens generated at these
   * positions. Null: there is one list for all.
   */
  readonly short: { readonly divisors: readonly number[]; readonly positions: number } | null;
  /** What cos and sin are multiplied by. */
  readonly attentionFactor: number;
}

/** Rotary position embedding of the `rope` part of queries and keys. */
export interface RopeSpec {
  /** Rotated dimensions per head; even. */
  readonly width: number;
  /** Base of the geometric series of frequencies. */
  readonly theta: number;
  /** Pairs are (2i, 2i+1) if true, (i, i + width/2) otherwise. */
  readonly interleaved: boolean;
  /** Context extension by YaRN. */
  readonly yarn: YarnSpec | null;
  /** Context extension by LongRoPE, where there is none by YaRN. */
  readonly longRope: LongRopeSpec | null;
}

/** Queries that grow with their position p: times 1 + beta · ln(1 + ⌊p / span⌋). */
export interface QueryScaling {
  /** By how much they grow with the logarithm. */
  readonly beta: number;
  /** Positions that share a factor. */
  readonly span: number;
}

/** Sparse attention (DeepSeek-V3.2): the tokens that a query attends to are those whose index keys score best with it. */
export interface IndexerSpec {
  /** Heads whose scores are summed, each times a weight that comes from the query's token. */
  readonly heads: number;
  /** Width of an index key; even. The first columns of it are rotated, as many as in attention. */
  readonly width: number;
  /** Tokens that are attended to; all there are, where there are no more. Of equal scores the first ones count more. */
  readonly topTokens: number;
  /** Pairs that are rotated are (2i, 2i+1) if true, (i, i + rotated columns / 2) otherwise. */
  readonly interleaved: boolean;
  /** Of each layer, whether it chooses tokens; if not, it attends to those that the last one before it has chosen. */
  readonly chooses: readonly boolean[];
}

/** Mixture-of-experts layers. */
export interface MoeSpec {
  /** Routed experts. */
  readonly experts: number;
  /** Routed experts that run for each token. */
  readonly activeExperts: number;
  /** Intermediate width of one routed expert. */
  readonly expertWidth: number;
  /** Intermediate width of the shared expert; 0 where there is none. */
  readonly sharedWidth: number;
  /** From router logits to scores. */
  readonly scoring: "softmax" | "sigmoid";
  /** Experts form `groups` equal groups; only the best `activeGroups` of them may be used by a token. */
  readonly groups: number;
  /** Groups whose experts a token may use. */
  readonly activeGroups: number;
  /** A group's score: its best expert (DeepSeek-V2) or the sum of its best two (DeepSeek-V3). */
  readonly groupScore: "max" | "top2";
  /** Choice (not weight) is by score plus a learnt bias per expert. */
  readonly correctionBias: boolean;
  /** Divide the chosen scores by their sum. */
  readonly normalize: boolean;
  /** Multiplies every gate. */
  readonly routedScale: number;
  /** Experts without weights, counted behind the others: what they give is their input. */
  readonly identityExperts: number;
  /**
   * Layers come in pairs, all of them with a dense block. Experts run beside that of a pair's first, and what they give joins the residual stream after that of its
   * second: a shortcut around an attention.
   */
  readonly shortcut: boolean;
  /** What experts give, the shared one among them, is normalised before it joins the residual stream. */
  readonly outputNorm: boolean;
}

/** One multi-head-latent-attention transformer. */
export interface ModelSpec {
  /** Name of the family, for people. */
  readonly family: string;
  /** What its tensors are called. */
  readonly tensorNames: TensorNames;
  /** Number of token ids. */
  readonly vocabSize: number;
  /** D */
  readonly hiddenSize: number;
  /** Transformer layers. */
  readonly layers: number;
  /** H */
  readonly heads: number;
  /** d_c, `kv_lora_rank` */
  readonly latentWidth: number;
  /** d_n, `qk_nope_head_dim` */
  readonly nopeWidth: number;
  /** d_v, `v_head_dim` */
  readonly valueWidth: number;
  /** `q_lora_rank`; null where queries are projected directly. */
  readonly queryRank: number | null;
  /** Rotary embedding of the last part of queries and keys. */
  readonly rope: RopeSpec;
  /** Multiplies the gain of the norm between the projections of queries, where they are compressed. */
  readonly queryGain: number;
  /** Multiplies the gain of the norm of latents. */
  readonly latentGain: number;
  /** Multiplies q·k before the softmax. */
  readonly attentionScale: number;
  /** How queries grow with their position; null: they do not. */
  readonly queryScaling: QueryScaling | null;
  /** Null where queries attend to all tokens before them. */
  readonly indexer: IndexerSpec | null;
  /** Epsilon of the norms of the residual stream. */
  readonly normEps: number;
  /** Epsilon of the q_a and kv_a norms: 1e-6 whatever `rms_norm_eps` says (transformers #44346). */
  readonly latentNormEps: number;
  /** The first `denseLayers` layers have a dense FFN of `denseWidth`, the others `moe`; with shortcuts, all of them have the former. */
  readonly denseLayers: number;
  /** Intermediate width of dense layers. */
  readonly denseWidth: number;
  /** Null for a model without experts. */
  readonly moe: MoeSpec | null;
  /** Multiplies rows of the embedding table on their way into the residual stream. */
  readonly embeddingScale: number;
  /** Multiplies logits. */
  readonly logitScale: number;
  /** Token whose row of the embedding table, and with it of a tied vocabulary projection, counts as zero whatever the file holds; null: there is none. */
  readonly zeroToken: number | null;
  /** The vocabulary projection is the embedding table, unless the checkpoint has one. */
  readonly tieEmbeddings: boolean;
  /** Longest context. */
  readonly maxPositions: number;
  /** Beginning of text, if config.json names it. */
  readonly bosToken: number | null;
  /** End of text, as config.json has it. */
  readonly eosTokens: readonly number[];
  /** What shares one scale, where the checkpoint is FP8: rows × columns, a row (`channel`), or all of a matrix (`tensor`). */
  readonly fp8Block: readonly [rows: number, columns: number] | "channel" | "tensor" | null;
  /** How weights of four bits are stored, where the checkpoint has some. */
  readonly int4: Int4Spec | null;
  /** Multi-token-prediction layers that config.json says follow the model's own; files may lack them, see `core/model/mtp.ts`. */
  readonly mtpLayers: number;
  /** Whether the first of them is loaded, to draft with. */
  readonly mtp: boolean;
}

/** Layers whose latents are cached: the model's own, and the one that drafts, if it is loaded. */
export function cachedLayers({ layers, mtp }: Pick<ModelSpec, "layers" | "mtp">): number {
  return layers + (mtp ? 1 : 0);
}

/** Layers whose index keys are cached, beside latents. */
export function indexedLayers({ indexer }: Pick<ModelSpec, "indexer">): number[] {
  return indexer === null ? [] : indexer.chooses.flatMap((chooses, layer) => chooses ? [layer] : []);
}

/** d_n + d_r: width of one head's query and key. */
export function queryWidth(spec: ModelSpec): number {
  return spec.nopeWidth + spec.rope.width;
}

/** True where layer `index` routes to experts. */
export function isMoeLayer({ moe, denseLayers }: ModelSpec, index: number): boolean {
  return moe !== null && (moe.shortcut ? index % 2 === 0 : index >= denseLayers);
}
