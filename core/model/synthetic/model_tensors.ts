/**
 * The tensors that a checkpoint of a model has.
 *
 * @module
 */
import { cachedLayers, isMoeLayer, type ModelSpec, queryWidth } from "../spec.ts";
import { type FeedForwardBlock, tensorName, type TensorPlace, type TensorRole } from "../tensor_names.ts";

/** One of them. */
export interface ModelTensor {
  readonly name: string;
  readonly role: TensorRole;
  readonly shape: readonly number[];
}

/** All of them, experts each by itself; of a layer that drafts, where it is loaded. */
export function modelTensors(spec: ModelSpec): ModelTensor[] {
  const { hiddenSize: D, heads: H, latentWidth: C, queryRank, nopeWidth, valueWidth, rope, moe } = spec;
  const tensors: ModelTensor[] = [];
  const push = (role: TensorRole, shape: readonly number[], place?: TensorPlace) =>
    void tensors.push({ name: tensorName(spec.tensorNames, role, place), role, shape });
  push("embedding", [spec.vocabSize, D]);
  push("finalNorm", [D]);
  if (!spec.tieEmbeddings) push("head", [spec.vocabSize, D]);
  for (let layer = 0; layer < cachedLayers(spec); layer++) {
    const add = (role: TensorRole, ...shape: number[]) => push(role, shape, { layer });
    const feedForward = (block: FeedForwardBlock, width: number, expert?: number) => {
      push(`${block}Gate`, [width, D], { layer, expert });
      push(`${block}Up`, [width, D], { layer, expert });
      push(`${block}Down`, [D, width], { layer, expert });
    };
    add("attentionNorm", D);
    add("feedForwardNorm", D);
    if (queryRank === null) {
      add("query", H * queryWidth(spec), D);
    } else {
      add("queryDown", queryRank, D);
      add("queryNorm", queryRank);
      add("queryUp", H * queryWidth(spec), queryRank);
    }
    add("latentDown", C + rope.width, D);
    add("latentNorm", C);
    add("latentUp", H * (nopeWidth + valueWidth), C);
    add("attentionOutput", D, H * valueWidth);
    if (spec.indexer?.chooses[layer] === true) {
      const { heads, width } = spec.indexer;
      add("indexerQueryUp", heads * width, queryRank!);
      add("indexerKey", width, D);
      add("indexerKeyGain", width);
      add("indexerKeyBias", width);
      add("indexerHeadWeights", heads, D);
    }
    const hasExperts = moe !== null && isMoeLayer(spec, layer);
    if (!hasExperts || moe.shortcut) feedForward("dense", spec.denseWidth);
    if (!hasExperts) continue;
    const choices = moe.experts + moe.identityExperts;
    add("router", choices, D);
    if (moe.correctionBias) add("correctionBias", choices);
    if (moe.outputNorm) add("moeOutputNorm", D);
    for (let expert = 0; expert < moe.experts; expert++) feedForward("expert", moe.expertWidth, expert);
    if (moe.sharedWidth > 0) feedForward("shared", moe.sharedWidth);
  }
  if (!spec.mtp) return tensors;
  const place = { layer: spec.layers };
  for (const norm of ["mtpEmbeddingNorm", "mtpHiddenNorm", "mtpFinalNorm"] as const) push(norm, [D], place);
  push("mtpProjection", [D, 2 * D], place);
  return tensors;
}
