/**
 * Whether there is memory for a model, beside what is loaded now.
 *
 * @module
 */
import { isHost } from "../../core/device_kind.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { readModelPackage } from "../../core/model_package.ts";
import { wholeMemory } from "../../core/tpla/plan.ts";
import type { Settings } from "../config/settings.ts";
import { planCache, resolveCuts } from "../planning/assignment.ts";
import { type ChoiceServices, chooseUnits } from "../planning/choose_units.ts";
import { fitCache } from "../planning/fit_cache.ts";
import { fitFeedForward, USABLE } from "../planning/fit_feed_forward.ts";
import { probePrefillDevice } from "../planning/prefill_device.ts";
import { planRanks } from "../planning/rank_plan.ts";
import type { PlanServices } from "../planning/services.ts";

/** Reads what tells whether a model can be loaded at all, before others make room for it. @throws {LatentmeshError} why not */
export async function checkModel(settings: Settings, services: PlanServices): Promise<void> {
  using files = services.openFiles(settings.model);
  resolveCuts(settings, await readModelPackage(files));
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
    const model = await readModelPackage(files);
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
