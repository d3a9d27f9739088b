/**
 * The models that GGUF files call `deepseek2`: names and shapes of their tensors beside those of checkpoints.
 *
 * @module
 */
import { isMoeLayer, type ModelSpec, queryWidth } from "../spec.ts";

/** A tensor of a file, and what it is in a checkpoint. */
export interface GgufTensorSource {
  readonly name: string;
  /** A vector, a matrix, or one matrix for each expert or head. */
  readonly shape: readonly number[];
  /** Tensors of the checkpoint, without its prefix; several, of alike shapes, are stacked. */
  readonly from: readonly string[];
  /** Of `kv_b_proj`: what makes keys of latents, each head's transposed, or what makes values of them. */
  readonly part: "keys" | "values" | null;
  /** Whether it is kept in float32, however weights are stored. */
  readonly exact: boolean;
}

/** All tensors of a file. */
export function deepseek2Tensors(spec: ModelSpec): GgufTensorSource[] {
  const { hiddenSize: D, heads: H, latentWidth: C, queryRank, nopeWidth, valueWidth, rope, moe } = spec;
  const tensors: GgufTensorSource[] = [];
  const add = (name: string, shape: readonly number[], from: string | readonly string[], part: GgufTensorSource["part"] = null) =>
    void tensors.push({
      name,
      shape,
      from: typeof from === "string" ? [from] : from,
      part,
      exact: shape.length === 1 || name.endsWith("ffn_gate_inp.weight"),
    });
  add("token_embd.weight", [spec.vocabSize, D], "model.embed_tokens.weight");
  add("output_norm.weight", [D], "model.norm.weight");
  if (!spec.tieEmbeddings) add("output.weight", [spec.vocabSize, D], "lm_head.weight");
  for (let layer = 0; layer < spec.layers; layer++) {
    const of = (name: string, shape: readonly number[], from: string, part: GgufTensorSource["part"] = null) =>
      add(`blk.${layer}.${name}.weight`, shape, `model.layers.${layer}.${from}.weight`, part);
    const feedForward = (suffix: string, from: string, width: number) => {
      of(`ffn_gate${suffix}`, [width, D], `${from}.gate_proj`);
      of(`ffn_up${suffix}`, [width, D], `${from}.up_proj`);
      of(`ffn_down${suffix}`, [D, width], `${from}.down_proj`);
    };
    of("attn_norm", [D], "input_layernorm");
    of("ffn_norm", [D], "post_attention_layernorm");
    if (queryRank === null) of("attn_q", [H * queryWidth(spec), D], "self_attn.q_proj");
    else {
      of("attn_q_a", [queryRank, D], "self_attn.q_a_proj");
      of("attn_q_a_norm", [queryRank], "self_attn.q_a_layernorm");
      of("attn_q_b", [H * queryWidth(spec), queryRank], "self_attn.q_b_proj");
    }
    of("attn_kv_a_mqa", [C + rope.width, D], "self_attn.kv_a_proj_with_mqa");
    of("attn_kv_a_norm", [C], "self_attn.kv_a_layernorm");
    of("attn_k_b", [H, C, nopeWidth], "self_attn.kv_b_proj", "keys");
    of("attn_v_b", [H, valueWidth, C], "self_attn.kv_b_proj", "values");
    of("attn_output", [D, H * valueWidth], "self_attn.o_proj");
    if (moe === null || !isMoeLayer(spec, layer)) {
      feedForward("", "mlp", spec.denseWidth);
      continue;
    }
    of("ffn_gate_inp", [moe.experts, D], "mlp.gate");
    if (moe.correctionBias) add(`blk.${layer}.exp_probs_b.bias`, [moe.experts], `model.layers.${layer}.mlp.gate.e_score_correction_bias`);
    for (
      const [name, projection, rows, columns] of [["gate", "gate_proj", moe.expertWidth, D], ["up", "up_proj", moe.expertWidth, D], [
        "down",
        "down_proj",
        D,
        moe.expertWidth,
      ]] as const
    ) {
      const from = Array.from({ length: moe.experts }, (_, expert) => `model.layers.${layer}.mlp.experts.${expert}.${projection}.weight`);
      add(`blk.${layer}.ffn_${name}_exps.weight`, [moe.experts, rows, columns], from);
    }
    if (moe.sharedWidth > 0) feedForward("_shexp", "mlp.shared_experts", moe.sharedWidth);
  }
  return tensors;
}
