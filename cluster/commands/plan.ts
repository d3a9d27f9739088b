/**
 * `plan`: what a configuration comes to, before anything is loaded.
 *
 * @module
 */
import { stringify } from "yaml";
import { isHostChoice } from "../../core/device_kind.ts";
import { messageOf } from "../../core/errors.ts";
import { readModelDescription } from "../../core/model_package.ts";
import type { PartitionOptions } from "../../core/tpla/partition.ts";
import { collectivesPerStep, handoffBytesPerToken, wholeMemory, wireBytesPerToken } from "../../core/tpla/plan.ts";
import { resolveBasis } from "../../core/tpla/scheme.ts";
import { type CachePlan, planCache, resolveCuts } from "../planning/assignment.ts";
import type { Config, HostConfig } from "../config/config_type.ts";
import { generatesFromSlices } from "../config/mixed_units.ts";
import { formatHubName } from "../hub/hub_name.ts";
import { fitCache } from "../planning/fit_cache.ts";
import { fitFeedForward } from "../planning/fit_feed_forward.ts";
import { formatBytes, printLine } from "../logs/log.ts";
import { probePrefillDevice } from "../planning/prefill_device.ts";
import { planRanks, type RankPlan } from "../planning/rank_plan.ts";
import type { PlanServices } from "../planning/services.ts";
import type { Settings } from "../config/settings.ts";
import { idleAdvice } from "../planning/topology.ts";
import { selectGpu } from "../processes/spawn.ts";
import { tableLines } from "./table.ts";

/** What `plan --json` prints. */
export interface ClusterPlan {
  /** What was resolved, as a cluster file. */
  readonly config: Config;
  readonly ranks: readonly RankPlan[];
  readonly collectivesPerToken: number;
  /** Sent by each decode rank. */
  readonly wireBytesPerToken: number;
  /** Handed from prefill to one decode group. */
  readonly handoffBytesPerPromptToken: number;
  /** Why it could not be started on this host; null: nothing that planning can see. */
  readonly obstacle: string | null;
  /** GPUs and hosts that are named and get no worker, and what would use them; null: there are none. */
  readonly idle: string | null;
}

/** Plans a cluster. @throws {LatentmeshError} if it cannot be */
export async function planCluster(given: Settings, services: PlanServices): Promise<ClusterPlan> {
  using files = services.openFiles(given.model);
  const model = await readModelDescription(files, given.decode.speculate);
  const { spec } = model;
  const sized = await fitCache(given, services);
  const cache = planCache(sized, model, await probePrefillDevice(sized, services));
  const settings = await fitFeedForward(sized, model, files.name, services);
  const { shapes, ...cuts } = resolveCuts(settings, model);
  const ranks = await planRanks(settings, model, files.name, cache, services);
  return {
    config: resolvedConfig(settings, cuts.decode, cache),
    ranks,
    collectivesPerToken: collectivesPerStep(spec, cuts.decode),
    wireBytesPerToken: wireBytesPerToken(spec, cuts.decode, settings.decode.wire),
    handoffBytesPerPromptToken: settings.mixed.workers > 0 ? 0 : handoffBytesPerToken(spec, shapes.decode, cache.dtype, cache.indexDtype),
    obstacle: isHostChoice(settings.device) ? null : missingGpu(settings.cluster.hosts),
    idle: idleAdvice(settings),
  };
}

/** What is wrong with the GPUs that this host's workers are to have. */
function missingGpu(hosts: readonly HostConfig[]): string | null {
  try {
    for (const gpu of hosts.find(({ join }) => join !== true)?.gpus ?? []) selectGpu(gpu, ["true"]);
    return null;
  } catch (error) {
    return messageOf(error);
  }
}

/** Prints a plan. */
export function printPlan(plan: ClusterPlan, json: boolean): void {
  if (json) return printLine(JSON.stringify(plan));
  printLine(stringify(plan.config).trimEnd());
  printLine("");
  const keepsPrompts = plan.ranks.some(({ promptCacheBytes }) => promptCacheBytes > 0);
  const rows = plan.ranks.map((rank) => [
    rank.slot.name,
    rank.slot.gpu === null ? rank.slot.host : `${rank.slot.host} gpu ${rank.slot.gpu}`,
    formatBytes(rank.weightBytes),
    formatBytes(rank.cacheBytes),
    ...(keepsPrompts ? [formatBytes(rank.promptCacheBytes)] : []),
    formatBytes(rank.activationBytes),
    formatBytes(wholeMemory(rank)),
    // Means over layers, and over tokens that others keep, need not be whole.
    String(Number(rank.cachedWidth.toFixed(1))),
    formatBytes(rank.cachedBytesPerToken),
  ]);
  const caches = keepsPrompts ? ["cache", "whole prompts"] : ["cache"];
  const header = ["worker", "where", "weights", ...caches, "activations", "together", "cached values", "cached per token"];
  for (const line of tableLines(header, rows)) printLine(line);
  printLine("");
  if (plan.obstacle !== null) printLine(`not on this host               ${plan.obstacle}`);
  if (plan.idle !== null) printLine(`idle                           ${plan.idle}`);
  printLine(`exchanges per token            ${plan.collectivesPerToken}, each rank sends ${formatBytes(plan.wireBytesPerToken)}`);
  if (keepsPrompts) {
    const [{ weightBytes, promptWeightBytes }] = plan.ranks;
    printLine(`whole prompts                  ${plan.config.prefill!.cacheTokens} tokens in progress and of prefixes: all of them are exact`);
    printLine(`attention weights for prompts  ${formatBytes(promptWeightBytes)} of ${formatBytes(weightBytes)}; all others are there once`);
    return printLine("handed over                    nothing: ranks keep their slices of what they compute");
  }
  if (plan.handoffBytesPerPromptToken === 0) return printLine("handed over                    nothing: prompts are decoded where they are computed");
  printLine(`handed over per prompt token   ${formatBytes(plan.handoffBytesPerPromptToken)} to each decode group`);
}

/** The configuration that was resolved, as a file that gives the same again; secrets are left out. */
function resolvedConfig(settings: Settings, cut: PartitionOptions, { chunk, window, maxTokens, prefillTokens, dtype }: CachePlan): Config {
  const { device, weights, decode, prefill, mixed, cluster } = settings;
  const { attention, ranks, mu, paper } = decode.scheme;
  const basis = resolveBasis(decode.scheme);
  const { host, port, modelName, shutdownTimeout } = settings;
  const slices = generatesFromSlices(settings);
  return {
    model: settings.hub === undefined ? settings.model : `hf:${formatHubName(settings.hub)}`,
    device,
    weights,
    decode: {
      ...(mixed.workers === 0 ? { ranks, groups: decode.groups, pingPong: decode.pingPong } : {}),
      ...(mixed.workers === 0 || slices ? { attention, latentGroups: cut.latentGroups } : {}),
      ...(cut.latentGroups > 1 ? { halo: cut.widths === undefined ? cut.halo : "auto" } : {}),
      ...(basis === null ? {} : { basis: basis.kind, lambda: basis.kind === "balanced" ? basis.lambda : undefined, mu, paper }),
      ...(ranks > 1 || prefill.ranks > 1 ? { wire: decode.wire, exchange: decode.exchange } : {}),
      ...(ranks > 1 ? { feedForward: cut.feedForward } : {}),
      deadlineMs: decode.deadlineMs,
      maxBatch: decode.maxBatch,
      speculate: decode.speculate,
    },
    prefill: {
      ...(mixed.workers === 0 ? prefill : {}),
      chunk,
      window,
      ...(mixed.workers === 0 || slices ? { cacheTokens: prefillTokens } : {}),
    },
    mixed: mixed.workers > 0 ? { ...mixed } : undefined,
    cache: { maxTokens, dtype, ...(settings.indexDtype === undefined ? {} : { indexDtype: settings.indexDtype }) },
    server: { host, port, modelName, shutdownTimeout },
    cluster: { listen: cluster.listen?.replace(/^wss?:\/\//, ""), tls: cluster.tls, strict: cluster.strict, hosts: [...cluster.hosts] },
  };
}
