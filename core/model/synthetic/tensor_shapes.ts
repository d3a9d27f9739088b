/**
 * The tensors that a checkpoint of a model has.
 *
 * @module
 */
import { mtpNames } from "../mtp.ts";
import { cachedLayers, isMoeLayer, type ModelSpec, queryWidth } from "../spec.ts";

/** Shape of every tensor, by name; of those of a layer that drafts, where it is loaded. */
export function tensorShapes(spec: ModelSpec): Map<string, readonly number[]> {
  const { hiddenSize: D, heads: H, latentWidth: C, queryRank, nopeWidth, valueWidth, rope, moe } = spec;
  const shapes = new Map<string, readonly number[]>([["model.embed_tokens.weight", [spec.vocabSize, D]], ["model.norm.weight", [D]]]);
  if (!spec.tieEmbeddings) shapes.set("lm_head.weight", [spec.vocabSize, D]);
  for (let layer = 0; layer < cachedLayers(spec); layer++) {
    const add = (name: string, ...shape: number[]) => shapes.set(`model.layers.${layer}.${name}.weight`, shape);
    const mlp = (name: string, width: number) => {
      add(`${name}.gate_proj`, width, D);
      add(`${name}.up_proj`, width, D);
      add(`${name}.down_proj`, D, width);
    };
    add("input_layernorm", D);
    add("post_attention_layernorm", D);
    if (queryRank === null) {
      add("self_attn.q_proj", H * queryWidth(spec), D);
    } else {
      add("self_attn.q_a_proj", queryRank, D);
      add("self_attn.q_a_layernorm", queryRank);
      add("self_attn.q_b_proj", H * queryWidth(spec), queryRank);
    }
    add("self_attn.kv_a_proj_with_mqa", C + rope.width, D);
    add("self_attn.kv_a_layernorm", C);
    add("self_attn.kv_b_proj", H * (nopeWidth + valueWidth), C);
    add("self_attn.o_proj", D, H * valueWidth);
    if (spec.indexer?.chooses[layer] === true) {
      const { heads, width } = spec.indexer;
      add("self_attn.indexer.wq_b", heads * width, queryRank!);
      add("self_attn.indexer.wk", width, D);
      add("self_attn.indexer.k_norm", width);
      shapes.set(`model.layers.${layer}.self_attn.indexer.k_norm.bias`, [width]);
      add("self_attn.indexer.weights_proj", heads, D);
    }
    if (!isMoeLayer(spec, layer)) {
      mlp("mlp", spec.denseWidth);
      continue;
    }
    add("mlp.gate", moe!.experts, D);
    if (moe!.correctionBias) shapes.set(`model.layers.${layer}.mlp.gate.e_score_correction_bias`, [moe!.experts]);
    for (let expert = 0; expert < moe!.experts; expert++) mlp(`mlp.experts.${expert}`, moe!.expertWidth);
    if (moe!.sharedWidth > 0) mlp("mlp.shared_experts", moe!.sharedWidth);
  }
  if (!spec.mtp) return shapes;
  const { embeddingNorm, hiddenNorm, finalNorm, projection } = mtpNames(spec);
  for (const norm of [embeddingNorm, hiddenNorm, finalNorm]) shapes.set(`${norm}.weight`, [D]);
  return shapes.set(`${projection}.weight`, [D, 2 * D]);
}
