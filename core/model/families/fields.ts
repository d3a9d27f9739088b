/**
 * Fields that families share, and the checks between them.
 *
 * @module
 */
import { z } from "zod";
import type { ModelSpec, MoeSpec } from "../spec.ts";
import { DEEPSEEK_NAMES } from "../tensor_names.ts";
import { FieldError, positions, requireField, size } from "./field_checks.ts";
import { formatsOf, quantizationField } from "./quantization.ts";
import { ROPE_FIELDS, type RopeHabits, ropeOf } from "./rope_fields.ts";

const tokenId = z.int().nonnegative().max(2 ** 31);

/** zod shape of what all families read. */
export const DENSE_FIELDS = {
  vocab_size: size(2 ** 22),
  hidden_size: size(2 ** 17),
  num_hidden_layers: size(1024),
  num_attention_heads: size(4096),
  num_key_value_heads: size(4096).nullish(),
  kv_lora_rank: size(2 ** 14),
  q_lora_rank: size(2 ** 17).nullable(),
  qk_nope_head_dim: size(8192),
  qk_rope_head_dim: size(8192),
  qk_head_dim: size(2 ** 14).nullish(),
  v_head_dim: size(8192),
  intermediate_size: size(2 ** 21),
  rms_norm_eps: z.number().positive().max(1),
  max_position_embeddings: positions,
  ...ROPE_FIELDS,
  tie_word_embeddings: z.boolean().nullish(),
  hidden_act: z.string().nullish(),
  attention_bias: z.boolean().nullish(),
  mlp_bias: z.boolean().nullish(),
  num_nextn_predict_layers: z.int().min(0).max(1024).nullish(),
  bos_token_id: tokenId.nullish(),
  eos_token_id: z.union([tokenId, z.array(tokenId).max(1024)]).nullish(),
  quantization_config: quantizationField,
} as const;

/** zod shape of what a dense family must not ask for. */
export const NO_EXPERTS = { n_routed_experts: z.int().nullish() } as const;

/** Refuses experts where the family has none. @throws {FieldError} */
export function noExperts(family: string, { n_routed_experts: experts }: z.infer<z.ZodObject<typeof NO_EXPERTS>>): void {
  requireField((experts ?? 0) === 0, "n_routed_experts", `is ${experts}; layers of ${family} are dense`);
}

/** zod shape of what families with experts read. */
export const COMMON_FIELDS = {
  ...DENSE_FIELDS,
  moe_intermediate_size: size(2 ** 20).optional(),
  first_k_dense_replace: z.int().min(0).max(1024),
  moe_layer_freq: size(1024).nullish(),
  n_routed_experts: size(8192).nullable(),
  n_shared_experts: z.int().min(0).max(256).nullish(),
  num_experts_per_tok: size(1024).nullish(),
  n_group: size(1024).nullish(),
  topk_group: size(1024).nullish(),
  norm_topk_prob: z.boolean().nullish(),
  routed_scaling_factor: z.number().min(-1e4).max(1e4).nullish(),
} as const;

/** What {@link DENSE_FIELDS} parses to. */
export type DenseFields = z.infer<z.ZodObject<typeof DENSE_FIELDS>>;

/** What {@link COMMON_FIELDS} parses to. */
export type CommonFields = z.infer<z.ZodObject<typeof COMMON_FIELDS>>;

/** How a family differs in its routing; the sizes come from the common fields. */
export type Routing = Pick<MoeSpec, "scoring" | "groupScore" | "correctionBias" | "normalize" | "routedScale" | "groups" | "activeGroups">;

/**
 * Builds the spec of a family with experts.
 *
 * @throws {FieldError} where two fields contradict each other or ask for what is not supported
 */
export function commonSpec(family: string, fields: CommonFields, rope: RopeHabits, routing: Routing): ModelSpec {
  const spec = denseSpec(family, fields, rope);
  const moe = moeOf(fields, routing);
  return moe === null ? spec : { ...spec, moe, denseLayers: Math.min(fields.first_k_dense_replace, fields.num_hidden_layers) };
}

/**
 * Builds the spec of a family whose layers are all dense.
 *
 * @throws {FieldError} where two fields contradict each other or ask for what is not supported
 */
export function denseSpec(family: string, fields: DenseFields, rope: RopeHabits): ModelSpec {
  checkSupported(fields);
  const queryWidth = fields.qk_nope_head_dim + fields.qk_rope_head_dim;
  const { spec: ropeSpec, scaleFactor } = ropeOf(fields, rope);
  return {
    family,
    tensorNames: DEEPSEEK_NAMES,
    vocabSize: fields.vocab_size,
    hiddenSize: fields.hidden_size,
    layers: fields.num_hidden_layers,
    heads: fields.num_attention_heads,
    latentWidth: fields.kv_lora_rank,
    nopeWidth: fields.qk_nope_head_dim,
    valueWidth: fields.v_head_dim,
    queryRank: fields.q_lora_rank,
    rope: ropeSpec,
    queryGain: 1,
    latentGain: 1,
    attentionScale: queryWidth ** -0.5 * scaleFactor,
    queryScaling: null,
    indexer: null,
    normEps: fields.rms_norm_eps,
    latentNormEps: 1e-6,
    denseLayers: fields.num_hidden_layers,
    denseWidth: fields.intermediate_size,
    moe: null,
    embeddingScale: 1,
    logitScale: 1,
    zeroToken: null,
    tieEmbeddings: fields.tie_word_embeddings ?? false,
    maxPositions: fields.max_position_embeddings,
    bosToken: fields.bos_token_id ?? null,
    eosTokens: fields.eos_token_id == null ? [] : [fields.eos_token_id].flat(),
    ...formatsOf(fields.quantization_config),
    mtpLayers: fields.num_nextn_predict_layers ?? 0,
    mtp: false,
  };
}

function checkSupported(fields: DenseFields): void {
  const width = fields.qk_nope_head_dim + fields.qk_rope_head_dim;
  requireField(fields.qk_rope_head_dim % 2 === 0, "qk_rope_head_dim", `is ${fields.qk_rope_head_dim}; rotary dimensions come in pairs`);
  requireField(
    (fields.qk_head_dim ?? width) === width,
    "qk_head_dim",
    `is ${fields.qk_head_dim}, but qk_nope_head_dim + qk_rope_head_dim is ${width}`,
  );
  requireField(
    (fields.num_key_value_heads ?? fields.num_attention_heads) === fields.num_attention_heads,
    "num_key_value_heads",
    `is ${fields.num_key_value_heads}, but latent attention has one per query head (${fields.num_attention_heads})`,
  );
  requireField((fields.hidden_act ?? "silu") === "silu", "hidden_act", `is "${fields.hidden_act}"; only "silu" is supported`);
  requireField(!fields.attention_bias, "attention_bias", "is true; attention projections with a bias are not supported");
  requireField(!fields.mlp_bias, "mlp_bias", "is true; feed-forward layers with a bias are not supported");
}

function moeOf(fields: CommonFields, routing: Routing): MoeSpec | null {
  requireField((fields.moe_layer_freq ?? 1) === 1, "moe_layer_freq", `is ${fields.moe_layer_freq}; only 1 is supported`);
  const experts = fields.n_routed_experts;
  if (experts == null || fields.first_k_dense_replace >= fields.num_hidden_layers) return null;
  const { num_experts_per_tok: active, moe_intermediate_size: width } = fields;
  if (active == null) throw new FieldError("num_experts_per_tok", `is missing, but n_routed_experts is ${experts}`);
  if (width === undefined) throw new FieldError("moe_intermediate_size", `is missing, but n_routed_experts is ${experts}`);
  if (fields.n_shared_experts === undefined) {
    throw new FieldError("n_shared_experts", `is missing, but n_routed_experts is ${experts}; it may be null or 0`);
  }
  const { groups, activeGroups } = routing;
  requireField(experts % groups === 0, "n_group", `is ${groups}, which does not divide n_routed_experts (${experts})`);
  requireField(activeGroups <= groups, "topk_group", `is ${activeGroups}, more than n_group (${groups})`);
  const perGroup = experts / groups;
  requireField(
    active <= activeGroups * perGroup,
    "num_experts_per_tok",
    `is ${active}, but topk_group (${activeGroups}) groups hold only ${activeGroups * perGroup} experts`,
  );
  requireField(
    routing.groupScore === "max" || perGroup >= 2,
    "n_group",
    `is ${groups}, which leaves groups of ${perGroup}; group scores need two experts`,
  );
  const sharedWidth = width * (fields.n_shared_experts ?? 0);
  return { experts, activeExperts: active, expertWidth: width, sharedWidth, ...routing, identityExperts: 0, shortcut: false, outputNorm: false };
}
