/**
 * Which units `serve` has where nobody has said: what the machine does best.
 *
 * @module
 */
import { isHost, isHostChoice } from "../../core/device_kind.ts";
import { readModelDescription } from "../../core/model_package.ts";
import { type Alternative, compareWays } from "./alternatives.ts";
import type { PlanServices } from "./services.ts";
import { formatFigure } from "../logs/figures.ts";
import { asMixed, isEmbedded, type Settings } from "../config/settings.ts";
import { refuseIdle } from "../config/without_effect.ts";

/** A choice, and what to say of it. */
export interface ChosenUnits {
  readonly settings: Settings;
  /** What was chosen, why, and what would change it, for people; null: it was configured. */
  readonly reason: string | null;
}

/** What choosing needs. */
export interface ChoiceServices extends PlanServices {
  /** GPUs of this host that workers can be given; 0 where that cannot be told. */
  gpuCount(): number;
}

/** GPUs that workers are given: those that are listed, or all of this host; one, whichever the driver prefers, where they cannot be counted. */
export function gpusOf({ cluster }: Settings, gpuCount: number): number[] {
  const listed = cluster.hosts.find(({ join }) => join !== true)?.gpus;
  return listed ?? Array.from({ length: Math.max(1, gpuCount) }, (_, gpu) => gpu);
}

/**
 * Chooses units, unless the settings say which.
 *
 * @throws {LatentmeshError} `device_unavailable`, why the model cannot be read, or `invalid_config` if something is set that these units have no use for
 */
export async function chooseUnits(settings: Settings, services: ChoiceServices): Promise<ChosenUnits> {
  const chosen = settings.unitsGiven ? { settings, reason: null } : await suitable(settings, services);
  refuseIdle(chosen.settings);
  return chosen;
}

async function suitable(settings: Settings, services: ChoiceServices): Promise<ChosenUnits> {
  const onHost = isHostChoice(settings.device) || isHost((await services.probeDevice(settings.device, settings.dawn)).kind);
  // Of what mixed units alone do, so that there are no others.
  const bounded = settings.mixed.maxStepMs !== undefined;
  if (onHost) {
    if (isEmbedded(settings.model) && !bounded) {
      return {
        settings,
        reason:
          "a small cluster of three processes, since the embedded model is there to show one and no GPU is used; --mixed 1 is faster, --single too",
      };
    }
    return {
      settings: asMixed(settings, { workers: 1, ranks: 1 }),
      reason: "one mixed worker, since no GPU is used and processes would share one processor; --ranks K makes a cluster of it",
    };
  }
  const gpus = gpusOf(settings, services.gpuCount());
  if (gpus.length === 1) {
    return {
      settings: asMixed(settings, { workers: 1, ranks: 1 }),
      reason: "one mixed worker, since there is one GPU, which has the weights once; --gpus 0,1 would use another, --single saves its process",
    };
  }
  using files = services.openFiles(settings.model);
  const all = await compareWays(settings, gpus, await readModelDescription(files, settings.decode.speculate), files.name, services);
  const ways = bounded ? all.filter(({ settings }) => settings.mixed.workers > 0) : all;
  const best = bestOf(ways);
  const others = ways.filter((way) => way !== best).map(({ flags }) => flags).join(" or ");
  return { settings: best.settings, reason: `${best.what}, since ${whyBest(best, ways)}; ${others} would change it, plan --compare shows them` };
}

/** What fits and is predicted to give most tokens; of what is known to fit nowhere, what comes nearest. */
export function bestOf(ways: readonly Alternative[]): Alternative {
  const all = ways.filter(({ obstacle, taken }) => obstacle === null && taken !== "never");
  const fitting = all.some(({ taken }) => taken === "best") ? all.filter(({ taken }) => taken === "best") : all;
  // Replicas come first: where nothing is known, they are what most models are best with.
  if (fitting.length === 0) return ways.at(-1)!;
  return fitting.reduce((best, way) => (way.tokensPerSecond ?? 0) > (best.tokensPerSecond ?? 0) ? way : best);
}

function whyBest(best: Alternative, ways: readonly Alternative[]): string {
  if (best.obstacle !== null) return `nothing fits (${best.obstacle}) and this comes nearest`;
  const [replicas] = ways;
  if (best !== replicas && replicas.obstacle !== null) return `the model does not fit one GPU (${replicas.obstacle})`;
  return `of what fits it is predicted to give most tokens (${formatFigure(best.tokensPerSecond ?? 0, 0)} per second with full batches)`;
}
