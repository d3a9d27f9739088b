/**
 * The `config.json` that the metadata of a file stands for.
 *
 * @module
 */
import { LatentmeshError } from "../../errors.ts";
import type { GgufTensorInfo } from "./header.ts";
import type { GgufMetadata } from "./metadata.ts";

/** What llama.cpp calls the architecture of DeepSeek-V2, V3, R1, Kimi-K2, Moonlight, GLM-4.7-Flash and Youtu-LLM. */
export const ARCHITECTURE = "deepseek2";

/** Numbers for what scores are made of router logits by. */
export const GATING = { softmax: 1, sigmoid: 2 } as const;

/** What `yarn_log_multiplier` has of `mscale_all_dim`. */
const LOG_MULTIPLIER = 0.1;

/**
 * Its text, which goes through the same checks as any other.
 *
 * @param file how it is named in errors
 * @param tensors some things only they say
 * @throws {LatentmeshError} `unsupported` for another architecture, `invalid_config` that names a key
 */
export function ggufConfigText(file: string, metadata: GgufMetadata, tensors: ReadonlyMap<string, GgufTensorInfo>): string {
  const kind = metadata.string("general.type") ?? "model";
  const architecture = metadata.string("general.architecture");
  if (kind !== "model" || architecture !== ARCHITECTURE) {
    const what = kind === "model" ? `has the architecture "${architecture}"` : `is of the type "${kind}"`;
    throw new LatentmeshError("unsupported", `Cannot load ${file}: it ${what}; of GGUF files, models of the architecture "${ARCHITECTURE}" are read`);
  }
  return JSON.stringify(configOf(metadata, tensors));
}

function configOf(metadata: GgufMetadata, tensors: ReadonlyMap<string, GgufTensorInfo>): object {
  const number = (key: string) => metadata.number(`${ARCHITECTURE}.${key}`);
  const required = (key: string) => metadata.required(`${ARCHITECTURE}.${key}`);
  const rope = required("rope.dimension_count");
  // Files with kv_b in one tensor have the widths of heads under the keys that are of latents in later ones.
  const keyLength = number("attention.key_length_mla") ?? required("attention.key_length");
  const nextLayers = number("nextn_predict_layers") ?? 0;
  return {
    ...routing(metadata, tensors),
    vocab_size: number("vocab_size") ?? tensors.get("token_embd.weight")?.shape[0],
    hidden_size: required("embedding_length"),
    num_hidden_layers: required("block_count") - nextLayers,
    num_nextn_predict_layers: nextLayers,
    num_attention_heads: required("attention.head_count"),
    kv_lora_rank: required("attention.kv_lora_rank"),
    q_lora_rank: tensors.has("blk.0.attn_q_a.weight") ? required("attention.q_lora_rank") : null,
    qk_nope_head_dim: keyLength - rope,
    qk_rope_head_dim: rope,
    v_head_dim: number("attention.value_length_mla") ?? required("attention.value_length"),
    intermediate_size: required("feed_forward_length"),
    rms_norm_eps: required("attention.layer_norm_rms_epsilon"),
    max_position_embeddings: required("context_length"),
    tie_word_embeddings: !tensors.has("output.weight"),
    bos_token_id: metadata.number("tokenizer.ggml.bos_token_id"),
    eos_token_id: metadata.number("tokenizer.ggml.eos_token_id"),
  };
}

/** The family, by how experts are chosen, and what differs between families. */
function routing(metadata: GgufMetadata, tensors: ReadonlyMap<string, GgufTensorInfo>): object {
  const key = (name: string) => `${ARCHITECTURE}.${name}`;
  const number = (name: string) => metadata.number(key(name));
  const rope = ropeOf(metadata);
  const experts = number("expert_count") ?? 0;
  const beta = number("attention.temperature_scale") ?? 0;
  if (experts === 0) {
    if (beta !== 0) metadata.refuse(key("attention.temperature_scale"), "is not zero in a model without experts, which is not supported");
    return { model_type: "youtu", rope_parameters: rope };
  }
  const groups = number("expert_group_count") ?? 1;
  const common = {
    n_routed_experts: experts,
    num_experts_per_tok: metadata.required(key("expert_used_count")),
    moe_intermediate_size: metadata.required(key("expert_feed_forward_length")),
    n_shared_experts: number("expert_shared_count") ?? 0,
    first_k_dense_replace: number("leading_dense_block_count") ?? 0,
    n_group: groups,
    topk_group: number("expert_group_used_count") ?? groups,
    // Zero stands for none, as an absent one does.
    routed_scaling_factor: number("expert_weights_scale") || 1,
    norm_topk_prob: metadata.boolean(key("expert_weights_norm")) ?? false,
  };
  // The first files did not say it: those with a bias for choosing experts are of DeepSeek-V3's kind.
  const biased = [...tensors.keys()].some((name) => name.includes(".exp_probs_b"));
  const gating = number("expert_gating_func") || (biased ? GATING.sigmoid : GATING.softmax);
  if (gating === GATING.sigmoid) {
    if (beta !== 0) metadata.refuse(key("attention.temperature_scale"), "is not zero beside sigmoid routing, which is not supported");
    return { ...common, model_type: "deepseek_v3", rope_parameters: rope };
  }
  if (gating !== GATING.softmax) metadata.refuse(key("expert_gating_func"), `is ${gating}; supported are 1 (softmax) and 2 (sigmoid)`);
  if (biased) {
    metadata.refuse(
      key("expert_gating_func"),
      "is 1 (softmax), and there is a bias that experts are chosen by; that is supported with 2 (sigmoid) alone",
    );
  }
  if (!common.norm_topk_prob && beta === 0) {
    return { ...common, model_type: "deepseek_v2", topk_method: groups > 1 ? "group_limited_greedy" : "greedy", rope_parameters: rope };
  }
  // Mistral's models are the same with weights that are normalised, and queries that grow.
  const span = number("attention.temperature_length") ?? rope.original_max_position_embeddings ?? metadata.required(key("context_length"));
  if (span !== (rope.original_max_position_embeddings ?? span)) {
    metadata.refuse(key("attention.temperature_length"), "is another than the context that is extended, which is not supported");
  }
  return { ...common, model_type: "mistral4", rope_parameters: { ...rope, llama_4_scaling_beta: beta, original_max_position_embeddings: span } };
}

interface RopeParameters {
  readonly rope_type: string;
  readonly rope_theta: number;
  readonly original_max_position_embeddings?: number;
  readonly [field: string]: unknown;
}

function ropeOf(metadata: GgufMetadata): RopeParameters {
  const key = (name: string) => `${ARCHITECTURE}.rope.${name}`;
  const number = (name: string) => metadata.number(key(name));
  const theta = number("freq_base") ?? 10000;
  const said = metadata.string(key("scaling.type"));
  // llama.cpp divides positions by a factor of which nothing else is said.
  if (said === undefined && (number("scaling.factor") || 1) !== 1) {
    metadata.refuse(key("scaling.type"), `is missing beside a factor (${key("scaling.factor")}); supported are "none" and "yarn"`);
  }
  const type = said ?? "none";
  if (type === "none") return { rope_type: "default", rope_theta: theta };
  if (type !== "yarn") metadata.refuse(key("scaling.type"), `is "${type.slice(0, 64)}"; supported are "none" and "yarn"`);
  for (const name of ["scaling.yarn_ext_factor", "scaling.attn_factor", "scaling.yarn_attn_factor"]) {
    if ((number(name) ?? 1) !== 1) metadata.refuse(key(name), "is another than 1, which is not supported");
  }
  const multiplier = number("scaling.yarn_log_multiplier");
  // Of both factors there is one in files, for all published models have them equal.
  const mscale = multiplier === undefined ? undefined : Number((multiplier / LOG_MULTIPLIER).toPrecision(7));
  return {
    rope_type: "yarn",
    rope_theta: theta,
    factor: metadata.required(key("scaling.factor")),
    original_max_position_embeddings: metadata.required(key("scaling.original_context_length")),
    beta_fast: number("scaling.yarn_beta_fast"),
    beta_slow: number("scaling.yarn_beta_slow"),
    mscale,
    mscale_all_dim: mscale,
  };
}
