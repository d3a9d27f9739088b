/**
 * What can be known of a model before it is loaded: whether it can be, whether there is memory for it beside what is loaded now, and its texts.
 *
 * @module
 */
import { isHost } from "../../core/device_kind.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import { readConfigText } from "../../core/model/config_text.ts";
import { readModelDescription, readModelPackage } from "../../core/model_package.ts";
import { readTextSource } from "../../core/text/text_source.ts";
import { wholeMemory } from "../../core/tpla/plan.ts";
import type { Settings } from "../config/settings.ts";
import { planCache, resolveCuts } from "../planning/assignment.ts";
import { type ChoiceServices, chooseUnits } from "../planning/choose_units.ts";
import { fitCache } from "../planning/fit_cache.ts";
import { fitFeedForward, USABLE } from "../planning/fit_feed_forward.ts";
import { probePrefillDevice } from "../planning/prefill_device.ts";
import { planRanks } from "../planning/rank_plan.ts";
import type { PlanServices } from "../planning/services.ts";
import type { TextModelSource } from "../text/text_model.ts";

/** Reads what tells whether a model can be loaded at all, before others make room for it. @throws {LatentmeshError} why not */
export async function checkModel(settings: Settings, services: PlanServices): Promise<void> {
  using files = services.openFiles(settings.model);
  resolveCuts(settings, await readModelPackage(files, settings.decode.speculate));
}

/** What texts of a model are made with: its tokenizer and template, and how much its context may hold if it is loaded. @throws {LatentmeshError} */
export async function readText({ model }: Settings, { openFiles }: PlanServices): Promise<Omit<TextModelSource, "id">> {
  using files = openFiles(model);
  const { vocabSize, maxPositions } = parseModelConfig(await readConfigText(files), `${files.name}/config.json`);
  return { vocabSize, context: { maxContext: maxPositions }, source: await readTextSource(files) };
}

/**
 * Whether what a model takes is left on every device that it would have.
 *
 * @param given of a model that lies on this host
 * @returns also true where that cannot be known, or something else is wrong: loading it will tell
 */
export async function hasRoom(given: Settings, services: ChoiceServices): Promise<boolean> {
  try {
    using files = services.openFiles(given.model);
    const model = await readModelDescription(files, given.decode.speculate);
    const { settings: chosen } = await chooseUnits(given, services);
    const settings = await fitFeedForward(await fitCache(chosen, services), model, files.name, services);
    const device = await probePrefillDevice(settings, services);
    const ranks = await planRanks(settings, model, files.name, planCache(settings, model, device), services);
    const ofHost = isHost(device.kind);
    for (const [gpu, sharing] of Map.groupBy(ranks, ({ slot }) => ofHost ? "host" : slot.gpu)) {
      const needed = sharing.reduce((sum, rank) => sum + wholeMemory(rank), 0);
      if (needed > await services.freeMemory(gpu) * USABLE) return false;
    }
    return true;
  } catch (error) {
    if (!(error instanceof LatentmeshError)) throw error;
    // The cache takes what is left, and nothing is. Of all else, loading tells: what devices have left may not be known.
    return error.code !== "out_of_memory";
  }
}
