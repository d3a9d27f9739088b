/**
 * Drift: what a way of decoding costs in accuracy, for this model and this text; `drift_run.ts` runs both.
 *
 * @module
 */
import { Checkpoint } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import { readConfigText } from "../../core/model/config_text.ts";
import { readChosenWidths } from "../../core/tpla/basis_file.ts";
import { basesFor } from "../../core/tpla/choose_bases.ts";
import { LatentmeshError } from "../../core/errors.ts";
import type { DriftReport, DriftRequest } from "../../core/tpla/drift.ts";
import { partition } from "../../core/tpla/partition.ts";
import { resolveBasis, resolveCut } from "../../core/tpla/scheme.ts";
import { refuseWithoutIndexKeys } from "../../core/cache/cache_dtype.ts";
import { cacheBytesPerToken, cachedWidth, perToken } from "../../core/tpla/plan.ts";
import { TextTokenizer } from "../../core/text/tokenizer.ts";
import type { DeviceChoice } from "../../kernels/device/providers.ts";
import { openModelFiles } from "../load/model_files.ts";
import { runDrift } from "./drift_run.ts";

/** A {@link DriftRequest} and where it runs. */
export interface DriftOptions extends DriftRequest {
  readonly model: string;
  readonly device: DeviceChoice;
  readonly dawn?: string;
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void;
}

/** Measures drift. @throws {LatentmeshError} `invalid_config` if the options do not fit each other or the model */
export async function measureDrift(options: DriftOptions): Promise<DriftReport> {
  using files = openModelFiles(options.model);
  const configText = await readConfigText(files);
  const spec = parseModelConfig(configText, `${files.name}/config.json`);
  refuseWithoutIndexKeys(options.indexDtype, spec);
  const calibration = await files.open("basis.safetensors");
  const cut = resolveCut(spec, options, await readChosenWidths(calibration, spec));
  const shapes = partition(spec, cut);
  const basis = resolveBasis(options);
  const bases = basis === null ? null : await basesFor(spec, basis, calibration);
  const tokenizer = await TextTokenizer.load(files);
  const limit = Math.min(options.limitTokens, spec.maxPositions);
  const documents = options.documents.map((text) => {
    const tokens = tokenizer.withBos(tokenizer.encode(text, { special: true })).slice(0, limit);
    return { tokens, prefix: Math.min(options.prefix ?? Math.floor(tokens.length / 2), tokens.length - 1) };
  });
  // The last token of a document has none after it to be compared with.
  if (documents.every(({ tokens, prefix }) => tokens.length - prefix < 2)) {
    const longest = Math.max(...documents.map(({ tokens: { length } }) => length));
    throw new LatentmeshError(
      "invalid_config",
      `Nothing is left to compare: the longest document has ${longest} tokens within --limit-tokens ${options.limitTokens}, of which ` +
        `${options.prefix ?? "half"} are a prefix; give longer documents, a higher limit or a shorter --prefix`,
      { param: "prefix" },
    );
  }
  const { divergence, cacheDtype } = await runDrift({ ...options, checkpoint: await Checkpoint.open(files), spec, cut, bases, documents });
  const { kl, agreement, perplexity, predictions } = divergence;
  const widths = shapes.map((shape) => perToken(shape, cachedWidth(spec, shape)));
  const bytes = shapes.map((shape) => perToken(shape, cacheBytesPerToken(spec, shape, cacheDtype, options.indexDtype)));
  return { kl, agreement, perplexity, widths, cacheDtype, bytes, tokens: predictions };
}
