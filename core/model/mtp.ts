/**
 * The multi-token-prediction layer of a checkpoint (DeepSeek-V3 technical report, arXiv 2412.19437, section 2.2): one more layer behind the model's
 * own, which guesses the token after the next from the embedding of the next and the hidden state that chose it. Its vocabulary projection and
 * embedding table are the model's.
 *
 * @module
 */
import { LatentmeshError } from "../errors.ts";
import type { Speculation } from "../speculation/speculation.ts";
import type { Checkpoint } from "./checkpoint.ts";
import type { ModelSpec } from "./spec.ts";
import { tensorName } from "./tensor_names.ts";

/** Whether a checkpoint has one: config.json may say so of files that were saved without. */
function hasMtp({ mtpLayers, moe, indexer, layers, tensorNames }: ModelSpec, checkpoint: Pick<Checkpoint, "has">): boolean {
  return mtpLayers > 0 && !moe?.shortcut && !moe?.outputNorm && indexer === null &&
    checkpoint.has(tensorName(tensorNames, "mtpProjection", { layer: layers }));
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
      : spec.moe?.outputNorm
      ? "those of models that normalise what experts give are not supported"
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
