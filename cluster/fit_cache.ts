/**
 * `cache.memory`: as many tokens as fit a fraction of what devices have left once weights and working memory are there.
 *
 * @module
 */
import { isHost } from "../core/device_kind.ts";
import { LatentmeshError, messageOf } from "../core/errors.ts";
import { readModelPackage } from "../core/model_package.ts";
import { BLOCK_TOKENS, planCache } from "./assignment.ts";
import { formatBytes, log } from "./log.ts";
import { probePrefillDevice } from "./prefill_device.ts";
import { planRanks, type RankPlan } from "./rank_plan.ts";
import type { PlanServices } from "./services.ts";
import { MOST_CACHE_TOKENS, type Settings } from "./settings.ts";

/**
 * Settings whose cache is as large as `cache.memory` says; the same settings where it says nothing.
 *
 * @throws {LatentmeshError} `invalid_config` if too little is left, or if that cannot be known
 */
export async function fitCache(settings: Settings, services: PlanServices): Promise<Settings> {
  const { cacheMemory: fraction } = settings;
  if (fraction === undefined) return settings;
  using files = services.openFiles(settings.model);
  const model = await readModelPackage(files);
  const { layers, maxPositions } = model.spec;
  const device = await probePrefillDevice(settings, services);
  const onCpu = isHost(device.kind);
  // What is not cache does not depend on how large the cache is, beyond one context.
  const cache = planCache({ ...settings, maxTokensTotal: maxPositions }, model, device);
  const ranks = await planRanks(settings, model, files.name, cache, services);
  if (ranks.some(({ slot }) => slot.remote)) refuse("what devices of other hosts have left is not known here; use cache.maxTokens");
  let tokens = Math.min(
    MOST_CACHE_TOKENS,
    ...ranks.map(({ cachedBytesPerToken }) => Math.floor(device.maxBindingBytes / cachedBytesPerToken * layers)),
  );
  for (const [gpu, sharing] of Map.groupBy(ranks, ({ slot }) => onCpu ? null : slot.gpu)) {
    const free = await services.freeMemory(onCpu ? "host" : gpu).catch((error) => refuse(`${messageOf(error)}; use cache.maxTokens`));
    tokens = Math.min(tokens, tokensThatFit(free, fraction, sharing, settings.prefill.cacheTokens));
  }
  tokens = Math.floor(tokens / BLOCK_TOKENS) * BLOCK_TOKENS;
  log("info", `cache   ${tokens} tokens, ${fraction} of the memory that is left`);
  return { ...settings, maxTokensTotal: tokens };
}

/** Tokens that workers of one device can cache. @param prefillTokens what prefill units cache; undefined: as many as decode groups */
export function tokensThatFit(
  free: number,
  fraction: number,
  ranks: readonly Pick<RankPlan, "role" | "weightBytes" | "activationBytes" | "cacheBytes" | "cachedBytesPerToken">[],
  prefillTokens: number | undefined,
): number {
  const isFixed = ({ role }: Pick<RankPlan, "role">) => role === "prefill" && prefillTokens !== undefined;
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const needed = sum(ranks.map((rank) => rank.weightBytes + rank.activationBytes + (isFixed(rank) ? rank.cacheBytes : 0)));
  const perToken = sum(ranks.filter((rank) => !isFixed(rank)).map(({ cachedBytesPerToken }) => cachedBytesPerToken));
  if (perToken === 0) return MOST_CACHE_TOKENS;
  const tokens = Math.floor(Math.max(0, free - needed) * fraction / perToken);
  if (tokens >= BLOCK_TOKENS) return tokens;
  return refuse(
    `a device has ${formatBytes(free)} left, and its workers need ${
      formatBytes(needed)
    } before they cache anything; use fewer workers or --weights q4`,
  );
}

function refuse(problem: string): never {
  throw new LatentmeshError("invalid_config", `Cannot use cache.memory: ${problem}`, { param: "cache.memory" });
}
