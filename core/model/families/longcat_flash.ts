/**
 * LongCat-Flash: two attentions and two dense blocks in a layer, beside which experts run, some of which give back what they take.
 *
 * @module
 */
import { z } from "zod";
import type { ModelSpec } from "../spec.ts";
import type { Family } from "./family.ts";
import { requireField, size } from "./field_checks.ts";
import { COMMON_FIELDS, DENSE_FIELDS, denseSpec } from "./fields.ts";
import { attentionNames, DEEPSEEK_NAMES, denseNames, expertNames, type TensorNames } from "../tensor_names.ts";

const PAIR = "model.layers.{pair}";

/** Of a pair of layers, files have one with two of everything but experts. */
const NAMES: TensorNames = {
  ...DEEPSEEK_NAMES,
  attentionNorm: `${PAIR}.input_layernorm.{half}.weight`,
  ...attentionNames(`${PAIR}.self_attn.{half}`),
  feedForwardNorm: `${PAIR}.post_attention_layernorm.{half}.weight`,
  ...denseNames(`${PAIR}.mlps.{half}`),
  ...expertNames(`${PAIR}.mlp`),
  router: `${PAIR}.mlp.router.classifier.weight`,
  correctionBias: `${PAIR}.mlp.router.e_score_correction_bias`,
};

const schema = z.object({
  ...DENSE_FIELDS,
  q_lora_rank: size(2 ** 17),
  // Published files name no layers of the cache, of which there are two for each of theirs.
  num_hidden_layers: size(1024).nullish(),
  num_layers: size(512),
  intermediate_size: DENSE_FIELDS.intermediate_size.nullish(),
  ffn_hidden_size: DENSE_FIELDS.intermediate_size,
  expert_ffn_hidden_size: size(2 ** 20),
  n_routed_experts: size(8192),
  moe_topk: size(1024),
  norm_topk_prob: z.boolean().nullish(),
  routed_scaling_factor: COMMON_FIELDS.routed_scaling_factor,
  router_bias: z.boolean().nullish(),
  zero_expert_num: z.int().min(0).max(8192).nullish(),
  zero_expert_type: z.string().nullish(),
  mla_scale_q_lora: z.boolean().nullish(),
  mla_scale_kv_lora: z.boolean().nullish(),
  attention_method: z.string().nullish(),
});

/** LongCat-Flash. */
export const longcatFlash: Family = { modelTypes: ["longcat_flash"], architectures: ["LongcatFlashForCausalLM"], read };

function read(config: unknown): ModelSpec {
  const fields = schema.parse(config);
  const { n_routed_experts: experts, moe_topk: activeExperts, zero_expert_num: zeros, num_layers: pairs, hidden_size: D } = fields;
  requireField(activeExperts <= experts, "moe_topk", `is ${activeExperts}, more than n_routed_experts (${experts})`);
  const zeroKind = fields.zero_expert_type ?? "identity";
  requireField(zeroKind === "identity", "zero_expert_type", `is "${zeroKind}"; only "identity" is supported`);
  requireField(!fields.router_bias, "router_bias", "is true; a router with a bias is not supported");
  requireField(fields.mla_scale_q_lora ?? true, "mla_scale_q_lora", "is false; only compressed queries that are scaled are supported");
  requireField(fields.mla_scale_kv_lora ?? true, "mla_scale_kv_lora", "is false; only latents that are scaled are supported");
  const attention = fields.attention_method ?? "MLA";
  requireField(attention === "MLA", "attention_method", `is "${attention}"; only "MLA" is supported`);
  const layers = fields.num_hidden_layers;
  requireField(
    layers == null || layers === pairs || layers === 2 * pairs,
    "num_hidden_layers",
    `is ${layers}, but num_layers is ${pairs}, with two attentions each`,
  );
  const spec = denseSpec("longcat_flash", { ...fields, num_hidden_layers: 2 * pairs, intermediate_size: fields.ffn_hidden_size }, {
    interleaved: true,
    theta: 1e7,
  });
  return {
    ...spec,
    tensorNames: NAMES,
    queryGain: Math.sqrt(D / fields.q_lora_rank),
    latentGain: Math.sqrt(D / fields.kv_lora_rank),
    moe: {
      experts,
      activeExperts,
      expertWidth: fields.expert_ffn_hidden_size,
      sharedWidth: 0,
      scoring: "softmax",
      groups: 1,
      activeGroups: 1,
      groupScore: "max",
      correctionBias: true,
      normalize: fields.norm_topk_prob ?? false,
      routedScale: fields.routed_scaling_factor ?? 6,
      identityExperts: zeros ?? 0,
      shortcut: true,
      outputNorm: false,
    },
  };
}
