/**
 * Requests of tokens to a cluster in a test, and what comes of them.
 *
 * @module
 */
import { assert } from "@std/assert";
import type { RunningCluster } from "../../cluster/cluster.ts";
import type { TokenEvent, TokenRequest } from "../../core/engine.ts";
import { GREEDY } from "../../core/sampling/params.ts";
import { until } from "../../bench/support/until.ts";

/** Twelve tokens at temperature 1, but for what is changed. */
export function tokenRequest(prompt: readonly number[], change: Partial<TokenRequest> = {}): TokenRequest {
  return {
    prompt,
    maxTokens: 12,
    sampling: { ...GREEDY, temperature: 1, seed: 5 },
    choice: 0,
    stopTokens: new Set(),
    logprobs: 0,
    promptLogprobs: null,
    signal: new AbortController().signal,
    ...change,
  };
}

/** Waits for all of it. */
export async function run(cluster: RunningCluster, request: TokenRequest) {
  const events: TokenEvent[] = [];
  await cluster.served.engine.generate(request, (event) => events.push(event));
  return {
    tokens: events.flatMap((event) => event.kind === "token" ? [event.token] : []),
    logprobs: events.flatMap((event) => event.kind === "token" ? [event.logprob!.logprob] : []),
    prompt: events.flatMap((event) => event.kind === "prompt" ? event.logprobs.map((one) => one?.logprob ?? null) : []),
    cached: events.find((event) => event.kind === "prefilled")!.cached,
  };
}

/** Waits until nothing is left of any request on any worker. @param tokens that every worker has room for then */
export async function freeAgain(cluster: RunningCluster, tokens = 0): Promise<void> {
  await until(async () => (await cluster.status()).every(({ stats }) => stats.sequences === 0));
  cluster.checkIntegrity();
  for (const { stats } of await cluster.status()) assert(stats.freeBlocks * 64 >= tokens, "every block is free");
}
