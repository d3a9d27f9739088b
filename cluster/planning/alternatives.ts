/**
 * Ways of using the same GPUs for the same model, side by side: what fits, and what a step is predicted to take.
 *
 * @module
 */
import { isHost } from "../../core/device_kind.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { cachedLayers } from "../../core/model/spec.ts";
import type { ModelDescription } from "../../core/model_package.ts";
import { collectivesPerStep, wholeMemory } from "../../core/tpla/plan.ts";
import { planCache, PROMPT_CACHE_TOKENS, resolveCuts } from "./assignment.ts";
import { fitCache, tokensThatFit } from "./fit_cache.ts";
import { fitFeedForward, USABLE } from "./fit_feed_forward.ts";
import { formatBytes } from "../logs/log.ts";
import { predictStep, type StepShape } from "./predict_step.ts";
import { probePrefillDevice } from "./prefill_device.ts";
import { planRanks, type RankPlan } from "./rank_plan.ts";
import type { PlanServices } from "./services.ts";
import { LOCAL_HOST } from "../config/host_places.ts";
import { asMixed, type Settings } from "../config/settings.ts";

/** Context at which steps are compared, where the model has as much. */
export const COMPARED_CONTEXT = 4096;

/** One way. */
export interface Alternative {
  /** What asks for it, such as `--mixed 2`. */
  readonly flags: string;
  /** What it is, for people. */
  readonly what: string;
  readonly settings: Settings;
  /** Whether `serve` takes it by itself: where it is the best there is, only where nothing else fits, or never. */
  readonly taken: "best" | "last" | "never";
  /** Why it cannot be; null: it can, as far as is known. */
  readonly obstacle: string | null;
  /** Bytes of weights on all devices. */
  readonly weightBytes: number;
  /** Tokens that all caches together could hold; null where it is not known what devices have left. */
  readonly tokens: number | null;
  /** Sequences that a unit decodes together: as many as it may, or as many of {@link COMPARED_CONTEXT} tokens as its cache holds. */
  readonly batch: number;
  /** Predicted milliseconds of a step of one sequence, and of {@link batch}; null on a CPU. */
  readonly stepMs: { readonly one: number; readonly full: number } | null;
  /** Predicted tokens per second of everything together, with full batches; null on a CPU. */
  readonly tokensPerSecond: number | null;
}

/** The ways there are to use some GPUs. @param gpus numbers of this host's */
export function waysToUse(settings: Settings, gpus: readonly number[]): Pick<Alternative, "flags" | "what" | "settings" | "taken">[] {
  const count = gpus.length;
  const all = onGpus(settings, gpus);
  const mixed = (workers: number, ranks: number) => asMixed(all, { workers, ranks });
  const replicas = {
    flags: `--mixed ${count}`,
    what: count === 1 ? "one mixed worker" : `one mixed worker on each of ${count} GPUs`,
    settings: mixed(count, 1),
    taken: "best" as const,
  };
  if (count < 2) return [replicas];
  return [
    replicas,
    ...(count < 3 ? [] : [{
      flags: `--ranks ${count - 1} --attention tpla`,
      what: `a TPLA group over ${count - 1} GPUs, and prefill on the last`,
      settings: withGroup(all, count - 1, "tpla"),
      taken: "best" as const,
    }]),
    {
      flags: `--ranks ${count} --attention tpla --prefill-workers 0`,
      what: `a TPLA group over ${count} GPUs, which compute prompts among themselves`,
      settings: asMixed(all, { workers: 1, ranks: count, attention: "tpla" }),
      // Until it has been measured on GPUs.
      taken: "never",
    },
    {
      flags: `--ranks ${count} --attention mla --prefill-workers 0`,
      what: `one mixed unit over ${count} GPUs, heads split`,
      settings: mixed(1, count),
      taken: "last",
    },
    {
      flags: `--ranks ${count} --attention dcp --prefill-workers 0`,
      what: `${count} GPUs that compute prompts among themselves and share latents by tokens, exact`,
      settings: asMixed(all, { workers: 1, ranks: count, attention: "dcp" }),
      // Until it has been measured on GPUs.
      taken: "never",
    },
  ];
}

/** Plans each of them. */
export async function compareWays(
  settings: Settings,
  gpus: readonly number[],
  model: ModelDescription,
  directory: string,
  services: PlanServices,
): Promise<Alternative[]> {
  const alternatives: Alternative[] = [];
  for (const way of waysToUse(settings, gpus)) alternatives.push({ ...way, ...await planWay(way.settings, model, directory, services) });
  return alternatives;
}

type Planned = Omit<Alternative, "flags" | "what" | "taken">;

async function planWay(given: Settings, model: ModelDescription, directory: string, services: PlanServices): Promise<Planned> {
  try {
    const settings = await fitFeedForward(await fitCache(given, services), model, directory, services);
    const device = await probePrefillDevice(settings, services);
    const cache = planCache(settings, model, device);
    const ranks = await planRanks(settings, model, directory, cache, services);
    const weightBytes = sum(ranks.map((rank) => rank.weightBytes));
    const context = Math.min(COMPARED_CONTEXT, cache.maxContext);
    const batch = Math.max(1, Math.min(settings.decode.maxBatch, Math.floor(cache.maxTokens / context)));
    const predicted = isHost(device.kind) ? { stepMs: null, tokensPerSecond: null } : predict(settings, model, ranks, { batch, context });
    return {
      settings: given,
      weightBytes,
      batch,
      ...predicted,
      ...await room(settings, ranks, device.maxBindingBytes * cachedLayers(model.spec), services),
    };
  } catch (error) {
    if (!(error instanceof LatentmeshError)) throw error;
    return { settings: given, obstacle: error.message, weightBytes: 0, tokens: null, batch: 0, stepMs: null, tokensPerSecond: null };
  }
}

function unitsOf({ decode, mixed }: Settings): number {
  return Math.max(decode.groups, mixed.workers);
}

/** What is left for caches, and whether that holds what is configured. @param bindings most bytes of one rank's cache */
async function room(
  settings: Settings,
  ranks: readonly RankPlan[],
  bindings: number,
  { freeMemory }: PlanServices,
): Promise<Pick<Planned, "obstacle" | "tokens">> {
  const allows = { fraction: 1, prefillTokens: settings.prefill.cacheTokens, bindings };
  let perUnit = Infinity;
  for (const [gpu, sharing] of Map.groupBy(ranks, ({ slot }) => slot.gpu)) {
    let free: number;
    try {
      free = await freeMemory(gpu) * USABLE;
    } catch {
      return { obstacle: null, tokens: null };
    }
    const needed = sum(sharing.map(wholeMemory));
    if (needed > free) {
      return { obstacle: `${gpu === null ? "a GPU" : `GPU ${gpu}`} would need ${formatBytes(needed)}, and has ${formatBytes(free)}`, tokens: null };
    }
    perUnit = Math.min(perUnit, tokensThatFit(free, sharing, allows));
  }
  return { obstacle: null, tokens: perUnit * unitsOf(settings) };
}

function predict(
  settings: Settings,
  model: ModelDescription,
  ranks: readonly RankPlan[],
  { batch, context }: StepShape,
): Pick<Planned, "stepMs" | "tokensPerSecond"> {
  const { spec } = model;
  const { weights, indexDtype } = settings;
  const cut = resolveCuts(settings, model).decode;
  const sharing = cut.feedForward === "replicated" ? 1 : cut.ranks;
  const step = (batch: number) =>
    Math.max(
      ...ranks.filter(({ role }) => role !== "prefill").map(({ weightBytes, promptWeightBytes, cachedBytesPerToken }) => {
        const read = { weightBytes: weightBytes - promptWeightBytes, cachedBytesPerToken, indexDtype, sharing, sums: collectivesPerStep(spec, cut) };
        return predictStep(spec, weights, read, { batch, context });
      }),
    );
  const stepMs = { one: step(1), full: step(batch) };
  return { stepMs, tokensPerSecond: unitsOf(settings) * batch / stepMs.full * 1000 };
}

/** A decode group of some ranks, and one prefill worker. */
function withGroup(settings: Settings, ranks: number, attention: "tpla" | "mla"): Settings {
  const { decode, prefill, mixed } = settings;
  return {
    ...settings,
    decode: { ...decode, groups: 1, scheme: { ...decode.scheme, attention, ranks } },
    // It has the weights whole, and keeps no more latents beside them than prompts that are computed and those that come again need.
    prefill: { ...prefill, workers: 1, ranks: 1, cacheTokens: PROMPT_CACHE_TOKENS },
    mixed: { ...mixed, workers: 0 },
  };
}

/** On this host alone, which takes whatever units there are. */
function onGpus(settings: Settings, gpus: readonly number[]): Settings {
  const { cluster } = settings;
  const { name, gpus: listed } = cluster.hosts.find(({ join }) => join !== true) ?? LOCAL_HOST;
  // One GPU is whichever the driver prefers, unless somebody has said which.
  const host = gpus.length < 2 ? { name, gpus: listed } : { name, gpus: [...gpus] };
  return { ...settings, cluster: { ...cluster, hosts: [host] } };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
