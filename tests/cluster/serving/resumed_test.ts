/**
 * Generations that go on behind tokens which another engine of the same arithmetic has generated: they get what they would have got alone, to the bit.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import type { TokenEvent, TokenRequest } from "../../../core/engine.ts";
import { GREEDY } from "../../../core/sampling/params.ts";
import type { Config, RunningCluster } from "../../../mod.ts";
import { LeastTokens } from "../../../cluster/http/answers/least_tokens.ts";
import { withWorkersHere } from "../../support/cluster.ts";
import { freeAgain, tokenRequest } from "../../support/token_requests.ts";

const PROMPT = Array.from({ length: 70 }, (_, i) => 300 + 7 * i);
const TOKENS = 20;

const REQUESTS: Record<string, () => Partial<TokenRequest>> = {
  greedy: () => ({ sampling: GREEDY }),
  "drawn, with penalties": () => ({ sampling: { ...GREEDY, temperature: 1, seed: 2n ** 60n + 3n, frequencyPenalty: 0.5, repetitionPenalty: 1.2 } }),
  "another choice": () => ({ choice: 2 }),
  constrained: () => ({
    sampling: { ...GREEDY, logitBias: new Map([[9, 100]]) },
    constraint: new LeastTokens(12, 8192, new Set([9])),
    stopTokens: new Set([9]),
  }),
};

const KINDS: Record<string, Config> = { "one mixed unit": { mixed: { workers: 1 } }, "a group with slices of latents": { decode: { ranks: 2 } } };

async function events(cluster: RunningCluster, change: Partial<TokenRequest>): Promise<TokenEvent[]> {
  const all: TokenEvent[] = [];
  await cluster.served.engine.generate(tokenRequest(PROMPT, { maxTokens: TOKENS, ...change }), (event) => all.push(event));
  return all;
}

describe("resumed generations", () => {
  for (const [kind, config] of Object.entries(KINDS)) {
    it(`go on in ${kind} as if nothing had happened`, () =>
      withWorkersHere(config, async (cluster) => {
        for (const [name, request] of Object.entries(REQUESTS)) {
          const whole = (await events(cluster, request())).filter((event) => event.kind === "token" || event.kind === "finish");
          const tokens = whole.flatMap((event) => event.kind === "token" ? [event.token] : []);
          const cuts = [1, 7, tokens.length - 1];
          await Promise.all(cuts.map(async (cut) => {
            const [first, ...rest] = await events(cluster, { ...request(), resumed: tokens.slice(0, cut) });
            assertEquals(first.kind, "prefilled");
            const expected = whole.map((event, i) => event.kind === "token" && i < cut ? { ...event, logprob: null } : event);
            const without = (all: readonly TokenEvent[]) => all.map((event) => event.kind === "token" ? { ...event, drafts: undefined } : event);
            assertEquals(without(rest), without(expected), `${name}, cut behind ${cut}`);
          }));
        }
        await freeAgain(cluster);
        cluster.checkIntegrity();
      }));
  }
});
