/**
 * `config.json` of published models, with the fields that are read.
 *
 * @module
 */
import { parseModelConfig } from "../../core/model/config.ts";
import type { ModelSpec } from "../../core/model/spec.ts";

/** DeepSeek-V2-Lite. */
export const V2_LITE = {
  model_type: "deepseek_v2",
  vocab_size: 102400,
  hidden_size: 2048,
  num_hidden_layers: 27,
  num_attention_heads: 16,
  num_key_value_heads: 16,
  kv_lora_rank: 512,
  q_lora_rank: null,
  qk_nope_head_dim: 128,
  qk_rope_head_dim: 64,
  v_head_dim: 128,
  intermediate_size: 10944,
  moe_intermediate_size: 1408,
  first_k_dense_replace: 1,
  n_routed_experts: 64,
  n_shared_experts: 2,
  num_experts_per_tok: 6,
  topk_method: "greedy",
  n_group: 1,
  topk_group: 1,
  routed_scaling_factor: 1.0,
  rms_norm_eps: 1e-6,
  max_position_embeddings: 163840,
  rope_theta: 10000,
  rope_scaling: {
    type: "yarn",
    factor: 40,
    original_max_position_embeddings: 4096,
    beta_fast: 32,
    beta_slow: 1,
    mscale: 0.707,
    mscale_all_dim: 0.707,
  },
  bos_token_id: 100000,
  eos_token_id: 100001,
};

/** DeepSeek-V3. */
export const V3 = {
  ...V2_LITE,
  model_type: "deepseek_v3",
  topk_method: "noaux_tc",
  scoring_func: "sigmoid",
  q_lora_rank: 1536,
  n_routed_experts: 256,
  num_experts_per_tok: 8,
  n_group: 8,
  topk_group: 4,
  norm_topk_prob: true,
  routed_scaling_factor: 2.5,
};

/** Mistral 4 with the sizes that transformers takes for its own. */
export const MISTRAL4 = {
  model_type: "mistral4",
  vocab_size: 131072,
  hidden_size: 4096,
  num_hidden_layers: 36,
  num_attention_heads: 32,
  num_key_value_heads: 32,
  kv_lora_rank: 256,
  q_lora_rank: 1024,
  qk_nope_head_dim: 64,
  qk_rope_head_dim: 64,
  v_head_dim: 128,
  intermediate_size: 12288,
  moe_intermediate_size: 2048,
  n_routed_experts: 128,
  n_shared_experts: 1,
  num_experts_per_tok: 4,
  rms_norm_eps: 1e-6,
  max_position_embeddings: 1048576,
  rope_parameters: {
    type: "yarn",
    rope_theta: 10000,
    factor: 128,
    original_max_position_embeddings: 8192,
    beta_fast: 32,
    beta_slow: 1,
    mscale: 1,
    mscale_all_dim: 1,
    llama_4_scaling_beta: 0.1,
    partial_rotary_factor: 0.5,
  },
};

/** Youtu-LLM-2B. */
export const YOUTU = {
  model_type: "youtu",
  vocab_size: 128256,
  hidden_size: 2048,
  num_hidden_layers: 32,
  num_attention_heads: 16,
  num_key_value_heads: 16,
  kv_lora_rank: 512,
  q_lora_rank: 1536,
  qk_nope_head_dim: 128,
  qk_rope_head_dim: 64,
  v_head_dim: 128,
  rms_norm_eps: 1e-6,
  intermediate_size: 6144,
  max_position_embeddings: 131072,
  rope_parameters: { rope_type: "default", rope_theta: 1600000 },
  rope_interleave: true,
  bos_token_id: 128000,
  eos_token_id: 128001,
  pad_token_id: null,
};

/** MiniCPM3-4B, but for its LongRoPE factors. */
export const MINICPM3 = {
  model_type: "minicpm3",
  vocab_size: 73448,
  hidden_size: 2560,
  num_hidden_layers: 62,
  num_attention_heads: 40,
  num_key_value_heads: 40,
  kv_lora_rank: 256,
  q_lora_rank: 768,
  qk_nope_head_dim: 64,
  qk_rope_head_dim: 32,
  intermediate_size: 6400,
  rms_norm_eps: 1e-5,
  max_position_embeddings: 32768,
  rope_scaling: {
    type: "longrope",
    short_factor: Array.from({ length: 16 }, (_, i) => 1 + i / 8),
    long_factor: Array.from({ length: 16 }, (_, i) => 2 + i),
    original_max_position_embeddings: 32768,
  },
  scale_emb: 12,
  scale_depth: 1.4,
  dim_model_base: 256,
  bos_token_id: 1,
  eos_token_id: [2, 73440],
};

/** LongCat-Flash. */
export const LONGCAT_FLASH = {
  model_type: "longcat_flash",
  attention_method: "MLA",
  vocab_size: 131072,
  hidden_size: 6144,
  num_layers: 28,
  num_attention_heads: 64,
  kv_lora_rank: 512,
  q_lora_rank: 1536,
  qk_nope_head_dim: 128,
  qk_rope_head_dim: 64,
  v_head_dim: 128,
  ffn_hidden_size: 12288,
  expert_ffn_hidden_size: 2048,
  n_routed_experts: 512,
  zero_expert_num: 256,
  zero_expert_type: "identity",
  moe_topk: 12,
  routed_scaling_factor: 6,
  mla_scale_q_lora: true,
  mla_scale_kv_lora: true,
  rms_norm_eps: 1e-5,
  rope_theta: 10000000,
  max_position_embeddings: 131072,
  bos_token_id: 1,
  eos_token_id: 2,
};

/** Reads a configuration as that of a file named `dir/config.json`. */
export function parse(config: object): ModelSpec {
  return parseModelConfig(JSON.stringify(config), "dir/config.json");
}
