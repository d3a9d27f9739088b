/**
 * `cache.memory`: as many tokens as fit a fraction of what devices have left once weights and working memory are there.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { blockTokensOf } from "../../core/cache/token_share.ts";
import { isHost, WASM_MEMORY_BYTES } from "../../core/device_kind.ts";
import { type ErrorCode, LatentmeshError, messageOf } from "../../core/errors.ts";
import { cachedLayers } from "../../core/model/spec.ts";
import { readModelDescription } from "../../core/model_package.ts";
import { planCache, PROMPT_CACHE_TOKENS, resolveCuts } from "./assignment.ts";
import { USABLE } from "./fit_feed_forward.ts";
import { formatBytes, log } from "../logs/log.ts";
import { probePrefillDevice } from "./prefill_device.ts";
import { planRanks, type RankPlan } from "./rank_plan.ts";
import type { PlanServices } from "./services.ts";
import { generatesFromSlices } from "../config/mixed_units.ts";
import { MOST_CACHE_TOKENS, type Settings } from "../config/settings.ts";

/**
 * Settings whose cache is as large as `cache.memory` says; the same settings where it says nothing.
 *
 * @throws {LatentmeshError} `out_of_memory` if too little is left; `invalid_config` if that cannot be known, or no device of this kind would have enough
 */
export async function fitCache(settings: Settings, services: PlanServices): Promise<Settings> {
  const { cacheMemory: fraction } = settings;
  if (fraction === undefined) return settings;
  using files = services.openFiles(settings.model);
  const model = await readModelDescription(files, settings.decode.speculate);
  const { maxPositions } = model.spec;
  const device = await probePrefillDevice(settings, services);
  const onCpu = isHost(device.kind);
  // What is not cache does not depend on how large the cache is, beyond one context.
  const { prefill } = settings;
  // Beside slices, neither does what is kept whole of prompts.
  const prompts = generatesFromSlices(settings) ? { ...prefill, cacheTokens: prefill.cacheTokens ?? PROMPT_CACHE_TOKENS } : prefill;
  const cache = planCache({ ...settings, prefill: prompts, maxTokensTotal: maxPositions }, model, device);
  const ranks = await planRanks(settings, model, files.name, cache, services);
  if (ranks.some(({ slot }) => slot.remote)) refuse("what devices of other hosts have left is not known here; use cache.maxTokens");
  const allows = { fraction, prefillTokens: settings.prefill.cacheTokens, bindings: device.maxBindingBytes * cachedLayers(model.spec) };
  let tokens = MOST_CACHE_TOKENS;
  for (const [gpu, sharing] of Map.groupBy(ranks, ({ slot }) => onCpu ? null : slot.gpu)) {
    const free = await services.freeMemory(onCpu ? "host" : gpu).catch((error) => refuse(`${messageOf(error)}; use cache.maxTokens`));
    tokens = Math.min(tokens, tokensThatFit(free, sharing, allows));
  }
  // Inputs that kernels round or activate, and what their threads work with, are there beside what is planned.
  const memory = WASM_MEMORY_BYTES * USABLE;
  if (device.kind === "wasm") { for (const rank of ranks) tokens = Math.min(tokens, tokensThatFit(memory, [rank], allows, "invalid_config")); }
  // A block stands for as many tokens on every rank that has a share of them.
  const blockTokens = blockTokensOf({ of: resolveCuts(settings, model).decode.tokenShares ?? 1 });
  tokens = Math.max(Math.floor(tokens / blockTokens), 1) * blockTokens;
  log("info", `cache   ${tokens} tokens, ${fraction} of the memory that is left`);
  return { ...settings, maxTokensTotal: tokens };
}

/** What caches of a device may take. */
export interface CacheAllowance {
  /** Of what is left beside weights and working memory. */
  readonly fraction: number;
  /** What prefill units cache; undefined: as many as decode groups. */
  readonly prefillTokens: number | undefined;
  /** Most bytes of one rank's cache: a layer of it is one binding. */
  readonly bindings: number;
}

/**
 * Tokens that workers of one device can cache.
 *
 * @param free bytes of it
 * @param code of the error if these are too few: whether they may be more another time
 * @throws {LatentmeshError}
 */
export function tokensThatFit(
  free: number,
  ranks: readonly Pick<RankPlan, "role" | "weightBytes" | "activationBytes" | "cacheBytes" | "promptCacheBytes" | "cachedBytesPerToken">[],
  { fraction, prefillTokens, bindings }: CacheAllowance,
  code: "out_of_memory" | "invalid_config" = "out_of_memory",
): number {
  const isFixed = ({ role }: Pick<RankPlan, "role">) => role === "prefill" && prefillTokens !== undefined;
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
  const needed = sum(
    ranks.map((rank) => rank.weightBytes + rank.activationBytes + rank.promptCacheBytes + (isFixed(rank) ? rank.cacheBytes : 0)),
  );
  const perToken = ranks.filter((rank) => !isFixed(rank)).map(({ cachedBytesPerToken }) => cachedBytesPerToken);
  if (perToken.length === 0) return MOST_CACHE_TOKENS;
  const tokens = Math.floor(Math.min(Math.max(0, free - needed) * fraction / sum(perToken), bindings / Math.max(...perToken)));
  if (tokens >= BLOCK_TOKENS) return tokens;
  return refuse(
    `a device has ${formatBytes(free)} left, and its workers need ${
      formatBytes(needed)
    } before they cache anything; use fewer workers or --weights q4`,
    code,
  );
}

function refuse(problem: string, code: ErrorCode = "invalid_config"): never {
  throw new LatentmeshError(code, `Cannot use cache.memory: ${problem}`, { param: "cache.memory" });
}
