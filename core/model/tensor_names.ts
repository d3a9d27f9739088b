/**
 * What checkpoints call their tensors: of each role a template, which families have of their own where they differ. Whoever wants a tensor asks for
 * its role, and nobody else knows names.
 *
 * @module
 */
import { LatentmeshError } from "../errors.ts";

/**
 * Names by role. `{layer}` in them stands for the layer, `{expert}` for the expert; where layers come in pairs, `{pair}` for the pair and `{half}`
 * for the layer's place in it, 0 or 1. Where a name ends in `.weight`, weights in four bits and scales end in what their form has instead. Sizes are
 * those of `ModelSpec`. Data only: a spec may be stored and sent.
 */
export interface TensorNames {
  /** [vocabulary, D] */
  readonly embedding: string;
  /** [D] */
  readonly finalNorm: string;
  /** The vocabulary projection, [vocabulary, D]. */
  readonly head: string;
  /** Before attention, [D]. */
  readonly attentionNorm: string;
  /** Queries that are not compressed, [H (d_n + d_r), D]. */
  readonly query: string;
  /** Queries that are: [query rank, D], */
  readonly queryDown: string;
  /** [query rank], */
  readonly queryNorm: string;
  /** and [H (d_n + d_r), query rank]. */
  readonly queryUp: string;
  /** Latents, and behind them the rotated key, [d_c + d_r, D]. */
  readonly latentDown: string;
  /** [d_c] */
  readonly latentNorm: string;
  /** Of each head what makes keys of latents, then what makes values of them, [H (d_n + d_v), d_c]. */
  readonly latentUp: string;
  /** [D, H d_v] */
  readonly attentionOutput: string;
  /** Of an indexer (see `IndexerSpec`) queries, [heads · width, query rank], */
  readonly indexerQueryUp: string;
  /** keys, [width, D], */
  readonly indexerKey: string;
  /** the gain of their norm, [width], */
  readonly indexerKeyGain: string;
  /** what is added then, [width], */
  readonly indexerKeyBias: string;
  /** and weights of heads, [heads, D]. */
  readonly indexerHeadWeights: string;
  /** Before the dense block or experts, or both, [D]. */
  readonly feedForwardNorm: string;
  /** [width, D] */
  readonly denseGate: string;
  /** [width, D] */
  readonly denseUp: string;
  /** [D, width] */
  readonly denseDown: string;
  /** Of each routed expert, [width, D]. */
  readonly expertGate: string;
  /** [width, D] */
  readonly expertUp: string;
  /** [D, width] */
  readonly expertDown: string;
  /** All routed experts in one, gates first, which is looked for before those: [experts, 2 · width, D] */
  readonly stackedGateUp: string;
  /** and [experts, D, width]. */
  readonly stackedDown: string;
  /** Of the shared expert, [width, D]. */
  readonly sharedGate: string;
  /** [width, D] */
  readonly sharedUp: string;
  /** [D, width] */
  readonly sharedDown: string;
  /** [experts, D], those without weights among them. */
  readonly router: string;
  /** Added to scores when experts are chosen, [experts]. */
  readonly correctionBias: string;
  /** Of what experts give, [D]. */
  readonly moeOutputNorm: string;
  /** Of the layer that drafts the norm of the embedding, [D], */
  readonly mtpEmbeddingNorm: string;
  /** and of the hidden state, [D]; */
  readonly mtpHiddenNorm: string;
  /** what joins the two, the embedding first, [D, 2 D]; */
  readonly mtpProjection: string;
  /** the norm before the vocabulary projection, [D]. */
  readonly mtpFinalNorm: string;
}

/** What a tensor is to a model. */
export type TensorRole = keyof TensorNames;

/** What there is gate, up and down of. */
export type FeedForwardBlock = "dense" | "expert" | "shared";

/** Which of several tensors of a role. */
export interface TensorPlace {
  readonly layer?: number;
  readonly expert?: number;
}

type AttentionRole = "query" | "queryDown" | "queryNorm" | "queryUp" | "latentDown" | "latentNorm" | "latentUp" | "attentionOutput";
type IndexerRole = Extract<TensorRole, `indexer${string}`>;
type ExpertsRole = Extract<TensorRole, `${"expert" | "shared" | "stacked"}${string}`>;

/** The names within an attention block, as DeepSeek has them. @param block what they begin with */
export function attentionNames(block: string): Pick<TensorNames, AttentionRole | IndexerRole> {
  return {
    query: `${block}.q_proj.weight`,
    queryDown: `${block}.q_a_proj.weight`,
    queryNorm: `${block}.q_a_layernorm.weight`,
    queryUp: `${block}.q_b_proj.weight`,
    latentDown: `${block}.kv_a_proj_with_mqa.weight`,
    latentNorm: `${block}.kv_a_layernorm.weight`,
    latentUp: `${block}.kv_b_proj.weight`,
    attentionOutput: `${block}.o_proj.weight`,
    indexerQueryUp: `${block}.indexer.wq_b.weight`,
    indexerKey: `${block}.indexer.wk.weight`,
    indexerKeyGain: `${block}.indexer.k_norm.weight`,
    indexerKeyBias: `${block}.indexer.k_norm.bias`,
    indexerHeadWeights: `${block}.indexer.weights_proj.weight`,
  };
}

/** The names within a dense block, as DeepSeek has them. @param block what they begin with */
export function denseNames(block: string): Pick<TensorNames, Extract<TensorRole, `dense${string}`>> {
  return { denseGate: `${block}.gate_proj.weight`, denseUp: `${block}.up_proj.weight`, denseDown: `${block}.down_proj.weight` };
}

/** The names of experts in a block, as DeepSeek has them. @param block what they begin with */
export function expertNames(block: string): Pick<TensorNames, ExpertsRole> {
  return {
    expertGate: `${block}.experts.{expert}.gate_proj.weight`,
    expertUp: `${block}.experts.{expert}.up_proj.weight`,
    expertDown: `${block}.experts.{expert}.down_proj.weight`,
    sharedGate: `${block}.shared_experts.gate_proj.weight`,
    sharedUp: `${block}.shared_experts.up_proj.weight`,
    sharedDown: `${block}.shared_experts.down_proj.weight`,
    stackedGateUp: `${block}.experts.gate_up_proj`,
    stackedDown: `${block}.experts.down_proj`,
  };
}

const LAYER = "model.layers.{layer}";

/** DeepSeek's names, which most families have. */
export const DEEPSEEK_NAMES: TensorNames = {
  embedding: "model.embed_tokens.weight",
  finalNorm: "model.norm.weight",
  head: "lm_head.weight",
  attentionNorm: `${LAYER}.input_layernorm.weight`,
  ...attentionNames(`${LAYER}.self_attn`),
  feedForwardNorm: `${LAYER}.post_attention_layernorm.weight`,
  ...denseNames(`${LAYER}.mlp`),
  ...expertNames(`${LAYER}.mlp`),
  router: `${LAYER}.mlp.gate.weight`,
  correctionBias: `${LAYER}.mlp.gate.e_score_correction_bias`,
  moeOutputNorm: `${LAYER}.post_mlp_layernorm.weight`,
  mtpEmbeddingNorm: `${LAYER}.enorm.weight`,
  mtpHiddenNorm: `${LAYER}.hnorm.weight`,
  mtpProjection: `${LAYER}.eh_proj.weight`,
  mtpFinalNorm: `${LAYER}.shared_head.norm.weight`,
};

/** The same names behind a prefix, as wrappers have them. */
export function prefixed(names: TensorNames, prefix: string): TensorNames {
  const behind = Object.entries(names).map(([role, name]: [string, string]) => [role, prefix + name]);
  return Object.fromEntries(behind) as Record<TensorRole, string>;
}

/** Name of a tensor. @param place which one, where a role has one in every layer or of every expert */
export function tensorName(names: TensorNames, role: TensorRole, { layer, expert }: TensorPlace = {}): string {
  const pair = layer === undefined ? undefined : Math.floor(layer / 2);
  const half = layer === undefined ? undefined : layer % 2;
  const values: Readonly<Record<string, number | undefined>> = { layer, pair, half, expert };
  return names[role].replace(/\{(\w+)\}/g, (placeholder, value: string) => {
    const number = values[value];
    if (number === undefined) throw new LatentmeshError("internal", `Tensor ${role} is named "${names[role]}", and there is no ${placeholder} of it`);
    return String(number);
  });
}
