/**
 * The models that GGUF files call `deepseek2`: names and shapes of their tensors beside those of checkpoints.
 *
 * @module
 */
import { isMoeLayer, type ModelSpec, queryWidth } from "../spec.ts";
import { type FeedForwardBlock, tensorName, type TensorRole } from "../tensor_names.ts";

/** A tensor of a file, and what it is in a checkpoint. */
export interface GgufTensorSource {
  readonly name: string;
  /** A vector, a matrix, or one matrix for each expert or head. */
  readonly shape: readonly number[];
  /** Tensors of the checkpoint; several, of alike shapes, are stacked. */
  readonly from: readonly string[];
  /** Of what keys and values are made of latents by: the keys, each head's transposed, or the values. */
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
  add("token_embd.weight", [spec.vocabSize, D], tensorName(spec.tensorNames, "embedding"));
  add("output_norm.weight", [D], tensorName(spec.tensorNames, "finalNorm"));
  if (!spec.tieEmbeddings) add("output.weight", [spec.vocabSize, D], tensorName(spec.tensorNames, "head"));
  for (let layer = 0; layer < spec.layers; layer++) {
    const from = (role: TensorRole, expert?: number) => tensorName(spec.tensorNames, role, { layer, expert });
    const of = (name: string, shape: readonly number[], role: TensorRole, part: GgufTensorSource["part"] = null) =>
      add(`blk.${layer}.${name}.weight`, shape, from(role), part);
    const feedForward = (suffix: string, block: FeedForwardBlock, width: number) => {
      of(`ffn_gate${suffix}`, [width, D], `${block}Gate`);
      of(`ffn_up${suffix}`, [width, D], `${block}Up`);
      of(`ffn_down${suffix}`, [D, width], `${block}Down`);
    };
    of("attn_norm", [D], "attentionNorm");
    of("ffn_norm", [D], "feedForwardNorm");
    if (queryRank === null) of("attn_q", [H * queryWidth(spec), D], "query");
    else {
      of("attn_q_a", [queryRank, D], "queryDown");
      of("attn_q_a_norm", [queryRank], "queryNorm");
      of("attn_q_b", [H * queryWidth(spec), queryRank], "queryUp");
    }
    of("attn_kv_a_mqa", [C + rope.width, D], "latentDown");
    of("attn_kv_a_norm", [C], "latentNorm");
    of("attn_k_b", [H, C, nopeWidth], "latentUp", "keys");
    of("attn_v_b", [H, valueWidth, C], "latentUp", "values");
    of("attn_output", [D, H * valueWidth], "attentionOutput");
    if (moe === null || !isMoeLayer(spec, layer)) {
      feedForward("", "dense", spec.denseWidth);
      continue;
    }
    of("ffn_gate_inp", [moe.experts, D], "router");
    if (moe.correctionBias) add(`blk.${layer}.exp_probs_b.bias`, [moe.experts], from("correctionBias"));
    const stacked = (name: string, role: TensorRole, shape: readonly [number, number]) =>
      add(`blk.${layer}.${name}.weight`, [moe.experts, ...shape], Array.from({ length: moe.experts }, (_, expert) => from(role, expert)));
    stacked("ffn_gate_exps", "expertGate", [moe.expertWidth, D]);
    stacked("ffn_up_exps", "expertUp", [moe.expertWidth, D]);
    stacked("ffn_down_exps", "expertDown", [D, moe.expertWidth]);
    if (moe.sharedWidth > 0) feedForward("_shexp", "shared", moe.sharedWidth);
  }
  return tensors;
}
