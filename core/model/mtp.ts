/**
 * The multi-token-prediction layer of a checkpoint (DeepSeek-V3 technical report, arXiv 2412.19437, section 2.2): one more layer behind the model's own, which guesses
 * the token after the next from the embedding of the next and the hidden state that chose it.
 *
 * @module
 */
import { LatentmeshError } from "../errors.ts";
import type { Speculation } from "../speculation/speculation.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { ModelSpec } from "./spec.ts";

/** What the names of its tensors begin with, or are but for `.weight`, where it differs from other layers. */
export interface MtpNames {
  /** Norm of the embedding, and of the hidden state. */
  readonly embeddingNorm: string;
  readonly hiddenNorm: string;
  /** [D, 2 D]: of both, the embedding first. */
  readonly projection: string;
  /** Norm before the vocabulary projection, which is the model's own, as the embedding table is. */
  readonly finalNorm: string;
}

/** Names of the first such layer. */
export function mtpNames({ tensorPrefix, layers }: Pick<ModelSpec, "tensorPrefix" | "layers">): MtpNames {
  const layer = `${tensorPrefix}model.layers.${layers}`;
  return {
    embeddingNorm: `${layer}.enorm`,
    hiddenNorm: `${layer}.hnorm`,
    projection: `${layer}.eh_proj`,
    finalNorm: `${layer}.shared_head.norm`,
  };
}

/** Whether a checkpoint has one: config.json may say so of files that were saved without. */
function hasMtp(spec: ModelSpec, checkpoint: Pick<Checkpoint, "has">): boolean {
  return spec.mtpLayers > 0 && spec.moe?.shortcut !== true && spec.indexer === null && checkpoint.has(`${mtpNames(spec).projection}.weight`);
}

/**
 * The model as it is loaded where tokens are guessed so: with that layer, if it guesses.
 *
 * @throws {LatentmeshError} `invalid_config` if the layer is asked for and the checkpoint has none
 */
export function specFor(speculate: Speculation, spec: ModelSpec, checkpoint: Pick<Checkpoint, "has" | "name">): ModelSpec {
  const has = hasMtp(spec, checkpoint);
  if (speculate === "mtp" && !has) {
    const why = spec.mtpLayers === 0
      ? "its config.json names none"
      : spec.moe?.shortcut === true
      ? "those of models with shortcuts are not supported"
      : spec.indexer !== null
      ? "those of models with sparse attention are not supported"
      : "its files lack what config.json says there is";
    throw new LatentmeshError(
      "invalid_config",
      `Cannot guess tokens of ${checkpoint.name} by "mtp": it has no multi-token-prediction layer that can be used (${why}); take "auto" or "ngram"`,
      {
        param: "decode.speculate",
      },
    );
  }
  return { ...spec, mtp: has && (speculate === "mtp" || speculate === "auto") };
}
