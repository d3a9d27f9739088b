/**
 * `calibrate`: writes `basis.safetensors` for a model.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { MeasuredWidths, WidthBudget } from "../../core/tpla/chosen_widths.ts";
import { besideModel } from "../../core/model/gguf/parts.ts";
import { isSynthetic } from "../../core/model/synthetic/name.ts";
import { embeddedDirectory, embeddedTexts } from "../config/embedded_model.ts";
import { withModelFetched } from "../config/fetch_model.ts";
import type { Settings } from "../config/settings.ts";
import type { Calibrate } from "../planning/services.ts";
import type { ModelFlags } from "../config/flags.ts";
import { formatBytes, log } from "../logs/log.ts";
import { showProgress } from "../logs/progress.ts";
import { writeWhole } from "../processes/write_whole.ts";
import { readDocuments } from "../text/documents.ts";

/** Flags of the command. */
export interface CalibrateFlags extends Pick<ModelFlags, "model" | "device"> {
  readonly text?: string;
  readonly tokens: number;
  /** What a rank may cache of a token, for numbers of latent groups. */
  readonly budget?: readonly WidthBudget[];
  readonly output?: string;
}

/** Calibrates and writes the file. */
export async function writeCalibration(options: CalibrateFlags, given: Settings, calibrate: Calibrate): Promise<void> {
  if (isSynthetic(given.model)) {
    throw new LatentmeshError("invalid_config", `Cannot calibrate ${given.model}: random weights have nothing to calibrate`, { param: "model" });
  }
  if (options.output === undefined && given.model === embeddedDirectory()) {
    throw new LatentmeshError(
      "invalid_config",
      "Say what to calibrate: --model DIR, whose basis.safetensors is written; or --output FILE, since the embedded model has one, which is part of this program",
      { param: "model" },
    );
  }
  const settings = await withModelFetched(given);
  const text = options.text ?? await embeddedTexts();
  const output = options.output ?? besideModel(settings.model, "basis.safetensors");
  const documents = await readDocuments(text);
  const progress = showProgress("calibrating", (tokens) => `${tokens} tokens`);
  const measuring = showProgress("measuring widths", (measurements) => `${measurements} measurements`);
  const { model, device, dawn } = settings;
  const calibration = await calibrate({
    model,
    device,
    dawn,
    documents,
    tokens: options.tokens,
    budgets: options.budget,
    onProgress: ({ done, total }) => progress.update(done, total),
    onMeasured: ({ done, total }) => measuring.update(done, total),
  })
    .finally(() => [progress, measuring].forEach((one) => one.stop()));
  await writeWhole(output, calibration.file);
  const { provenance, statistics, width, chosen } = calibration;
  log(
    "info",
    `wrote ${output}: ${statistics.length} layers of width ${width} from ${provenance.tokens} tokens, ${formatBytes(calibration.file.byteLength)}`,
  );
  for (const { latentGroups } of options.budget ?? []) log("info", measured(latentGroups, chosen.find((one) => one.latentGroups === latentGroups)));
}

function measured(latentGroups: number, chosen: MeasuredWidths | undefined): string {
  const groups = `${latentGroups} latent groups`;
  if (chosen === undefined) return `${groups}: nothing was better than one halo for all layers; the default is used`;
  const { widths, kl, uniformKl } = chosen;
  return `${groups}: directions by layer ${widths.join(", ")}; KL ${kl.toPrecision(3)} nats per token where the best that all layers share has ${
    uniformKl.toPrecision(3)
  }`;
}
