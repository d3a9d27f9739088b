/**
 * Metadata of a model as GGUF files have it.
 *
 * @module
 */
import { z } from "zod";
import { LatentmeshError } from "../../core/errors.ts";
import { ARCHITECTURE, GATING } from "../../core/model/gguf/config_text.ts";
import type { ModelSpec } from "../../core/model/spec.ts";
import type { WrittenValue } from "./head.ts";

const u32 = (value: number): WrittenValue => ({ type: "u32", value });
const f32 = (value: number): WrittenValue => ({ type: "f32", value });

/** Metadata of a model without its vocabulary. How positions are rotated is in {@link ropeMetadata}. */
export function deepseek2Metadata(spec: ModelSpec, name: string): Map<string, WrittenValue> {
  const { latentWidth, nopeWidth, valueWidth, rope, moe, queryRank } = spec;
  const metadata = new Map<string, WrittenValue>([
    ["general.architecture", { type: "string", value: ARCHITECTURE }],
    ["general.name", { type: "string", value: name }],
  ]);
  const set = (key: string, value: WrittenValue) => metadata.set(`${ARCHITECTURE}.${key}`, value);
  set("block_count", u32(spec.layers));
  set("context_length", u32(spec.maxPositions));
  set("embedding_length", u32(spec.hiddenSize));
  set("feed_forward_length", u32(spec.denseWidth));
  set("vocab_size", u32(spec.vocabSize));
  set("attention.head_count", u32(spec.heads));
  // Keys and values are latents, of which all heads share one.
  set("attention.head_count_kv", u32(1));
  set("attention.layer_norm_rms_epsilon", f32(spec.normEps));
  if (queryRank !== null) set("attention.q_lora_rank", u32(queryRank));
  set("attention.kv_lora_rank", u32(latentWidth));
  set("attention.key_length", u32(latentWidth + rope.width));
  set("attention.value_length", u32(latentWidth));
  set("attention.key_length_mla", u32(nopeWidth + rope.width));
  set("attention.value_length_mla", u32(valueWidth));
  set("rope.dimension_count", u32(rope.width));
  set("leading_dense_block_count", u32(moe === null ? spec.layers : spec.denseLayers));
  if (moe === null) return metadata;
  set("expert_count", u32(moe.experts));
  set("expert_used_count", u32(moe.activeExperts));
  set("expert_feed_forward_length", u32(moe.expertWidth));
  set("expert_shared_count", u32(moe.sharedWidth / moe.expertWidth));
  set("expert_weights_scale", f32(moe.routedScale));
  set("expert_weights_norm", { type: "bool", value: moe.normalize });
  set("expert_gating_func", u32(GATING[moe.scoring]));
  if (moe.groups > 1) {
    set("expert_group_count", u32(moe.groups));
    set("expert_group_used_count", u32(moe.activeGroups));
  }
  return metadata;
}

const ropeSchema = z.object({
  rope_theta: z.number().optional(),
  rope_type: z.string().optional(),
  factor: z.number().optional(),
  original_max_position_embeddings: z.number().optional(),
  beta_fast: z.number().optional(),
  beta_slow: z.number().optional(),
  mscale: z.number().optional(),
  mscale_all_dim: z.number().optional(),
  llama_4_scaling_beta: z.number().optional(),
});

/** How positions are rotated, as a config.json says it. */
export function ropeMetadata(config: string): Map<string, WrittenValue> {
  const { rope_theta, rope_parameters } = z.object({ rope_theta: z.number().nullish(), rope_parameters: ropeSchema.optional() }).parse(
    JSON.parse(config),
  );
  const rope = rope_parameters ?? {};
  const metadata = new Map<string, WrittenValue>();
  const set = (key: string, value: WrittenValue) => metadata.set(`${ARCHITECTURE}.${key}`, value);
  set("rope.freq_base", f32(rope.rope_theta ?? rope_theta ?? 10000));
  if (rope.rope_type !== "yarn") return metadata;
  if (rope.mscale !== rope.mscale_all_dim) throw new LatentmeshError("invalid_config", "Cannot write GGUF: mscale is another than mscale_all_dim");
  set("rope.scaling.type", { type: "string", value: "yarn" });
  set("rope.scaling.factor", f32(rope.factor!));
  set("rope.scaling.original_context_length", u32(rope.original_max_position_embeddings!));
  set("rope.scaling.yarn_beta_fast", f32(rope.beta_fast ?? 32));
  set("rope.scaling.yarn_beta_slow", f32(rope.beta_slow ?? 1));
  if (rope.mscale_all_dim !== undefined) set("rope.scaling.yarn_log_multiplier", f32(0.1 * rope.mscale_all_dim));
  if (rope.llama_4_scaling_beta !== undefined) {
    set("attention.temperature_scale", f32(rope.llama_4_scaling_beta));
    set("attention.temperature_length", u32(rope.original_max_position_embeddings!));
  }
  return metadata;
}
