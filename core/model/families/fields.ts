/**
 * Fields that both DeepSeek families share, and the checks between them.
 *
 * @module
 */
import { z } from "zod";
import { yarnMscale } from "../rope.ts";
import type { ModelSpec, MoeSpec, RopeSpec, YarnSpec } from "../spec.ts";

/** A field that is present and well-formed but cannot be used, or contradicts another. */
export class FieldError extends Error {
  readonly field: string;
  constructor(field: string, problem: string) {
    super(problem);
    this.field = field;
  }
}

/** Throws a {@link FieldError} unless `condition` holds. */
export function requireField(condition: boolean, field: string, problem: string): void {
  if (!condition) throw new FieldError(field, problem);
}

/**
 * A size that some model could have: the largest published ones, many times over. Sizes are trusted from here on, and what they ask for is allocated; an absurd
 * one must not come so far.
 */
const size = (most: number) => z.int().positive().max(most);
const tokenId = z.int().nonnegative().max(2 ** 31);
const mscale = z.number().min(-100).max(100).nullish();
/** Tokens of a context: every sequence has a list of its blocks. */
const positions = size(2 ** 22);

const theta = z.number().min(1).max(1e12);

const ropeParameters = z.object({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: theta.optional(),
  factor: z.number().min(1e-3).max(1e6).optional(),
  original_max_position_embeddings: positions.optional(),
  beta_fast: z.number().positive().max(1e6).nullish(),
  beta_slow: z.number().positive().max(1e6).nullish(),
  mscale,
  mscale_all_dim: mscale,
  attention_factor: z.number().positive().max(1e3).nullish(),
  truncate: z.boolean().optional(),
});

/** zod shape of what both families read. */
export const COMMON_FIELDS = {
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
  rms_norm_eps: z.number().positive().max(1),
  max_position_embeddings: positions,
  rope_theta: theta.nullish(),
  rope_scaling: ropeParameters.nullish(),
  rope_parameters: ropeParameters.nullish(),
  tie_word_embeddings: z.boolean().nullish(),
  hidden_act: z.string().nullish(),
  attention_bias: z.boolean().nullish(),
  mlp_bias: z.boolean().nullish(),
  num_nextn_predict_layers: z.int().min(0).max(1024).nullish(),
  bos_token_id: tokenId.nullish(),
  eos_token_id: z.union([tokenId, z.array(tokenId).max(1024)]).nullish(),
  quantization_config: z.looseObject({ quant_method: z.string(), fmt: z.string().nullish() }).nullish(),
} as const;

/** What {@link COMMON_FIELDS} parses to. */
export type CommonFields = z.infer<z.ZodObject<typeof COMMON_FIELDS>>;

/** How a family differs in its routing; the sizes come from the common fields. */
export type Routing = Pick<MoeSpec, "scoring" | "groupScore" | "correctionBias" | "normalize" | "routedScale" | "groups" | "activeGroups">;

/**
 * Builds the spec from fields both families share.
 *
 * @throws {FieldError} where two fields contradict each other or ask for what is not supported
 */
export function commonSpec(family: string, fields: CommonFields, rope: { interleaved: boolean }, routing: Routing): ModelSpec {
  checkSupported(fields);
  const queryWidth = fields.qk_nope_head_dim + fields.qk_rope_head_dim;
  const { spec: ropeSpec, scaleFactor } = ropeOf(fields, rope.interleaved);
  const moe = moeOf(fields, routing);
  return {
    family,
    vocabSize: fields.vocab_size,
    hiddenSize: fields.hidden_size,
    layers: fields.num_hidden_layers,
    heads: fields.num_attention_heads,
    latentWidth: fields.kv_lora_rank,
    nopeWidth: fields.qk_nope_head_dim,
    valueWidth: fields.v_head_dim,
    queryRank: fields.q_lora_rank,
    rope: ropeSpec,
    attentionScale: queryWidth ** -0.5 * scaleFactor,
    normEps: fields.rms_norm_eps,
    latentNormEps: 1e-6,
    denseLayers: moe === null ? fields.num_hidden_layers : Math.min(fields.first_k_dense_replace, fields.num_hidden_layers),
    denseWidth: fields.intermediate_size,
    moe,
    tieEmbeddings: fields.tie_word_embeddings ?? false,
    maxPositions: fields.max_position_embeddings,
    bosToken: fields.bos_token_id ?? null,
    eosTokens: fields.eos_token_id == null ? [] : [fields.eos_token_id].flat(),
    fp8Block: fp8BlockOf(fields),
    mtpLayers: fields.num_nextn_predict_layers ?? 0,
  };
}

function checkSupported(fields: CommonFields): void {
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
  requireField((fields.moe_layer_freq ?? 1) === 1, "moe_layer_freq", `is ${fields.moe_layer_freq}; only 1 is supported`);
}

function moeOf(fields: CommonFields, routing: Routing): MoeSpec | null {
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
  return { experts, activeExperts: active, expertWidth: width, sharedWidth: width * (fields.n_shared_experts ?? 0), ...routing };
}

function fp8BlockOf(fields: CommonFields): readonly [number, number] | null {
  const quantization = fields.quantization_config;
  if (quantization == null) return null;
  requireField(quantization.quant_method === "fp8", "quantization_config.quant_method", `is "${quantization.quant_method}"; only "fp8" is supported`);
  const format = quantization.fmt ?? "e4m3";
  requireField(format === "e4m3", "quantization_config.fmt", `is "${format}"; only "e4m3" is supported`);
  const block = z.tuple([size(2 ** 16), size(2 ** 16)]).safeParse(quantization.weight_block_size);
  requireField(block.success, "quantization_config.weight_block_size", "must be [rows, columns] of one scale block");
  return block.data!;
}

function ropeOf(fields: CommonFields, interleaved: boolean): { spec: RopeSpec; scaleFactor: number } {
  const { rope_scaling: old, rope_parameters: current } = fields;
  if (old != null && current != null) {
    const differs = (Object.keys(old) as (keyof typeof old)[]).find((key) => key !== "type" && key in current && current[key] !== old[key]);
    requireField(differs === undefined, "rope_scaling", `contradicts rope_parameters in "${differs}"; keep one of them`);
  }
  const parameters = current ?? old ?? {};
  const name = current != null ? "rope_parameters" : "rope_scaling";
  const kind = parameters.rope_type ?? parameters.type ?? "default";
  requireField(kind === "default" || kind === "yarn", `${name}.rope_type`, `is "${kind}"; only "default" and "yarn" are supported`);
  const theta = parameters.rope_theta ?? fields.rope_theta ?? 10000;
  const base = { width: fields.qk_rope_head_dim, theta, interleaved };
  if (kind === "default") return { spec: { ...base, yarn: null }, scaleFactor: 1 };
  const yarn = yarnOf(parameters, name);
  const allDim = parameters.mscale_all_dim;
  return { spec: { ...base, yarn }, scaleFactor: allDim ? yarnMscale(yarn.factor, allDim) ** 2 : 1 };
}

function yarnOf(parameters: z.infer<typeof ropeParameters>, name: string): YarnSpec {
  const { factor, original_max_position_embeddings: original, mscale, mscale_all_dim: allDim } = parameters;
  if (factor === undefined) throw new FieldError(`${name}.factor`, "is missing; yarn needs it");
  if (original === undefined) throw new FieldError(`${name}.original_max_position_embeddings`, "is missing; yarn needs it");
  const implied = mscale && allDim ? yarnMscale(factor, mscale) / yarnMscale(factor, allDim) : yarnMscale(factor, 1);
  return {
    factor,
    originalMaxPositions: original,
    betaFast: parameters.beta_fast ?? 32,
    betaSlow: parameters.beta_slow ?? 1,
    truncate: parameters.truncate ?? true,
    attentionFactor: parameters.attention_factor ?? implied,
  };
}
