/**
 * Random requests whose tokens are guessed, and the same without.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { RunningCluster } from "../../cluster/cluster.ts";
import type { Speculation } from "../../core/speculation/speculation.ts";
import type { GenerateOptions } from "../../core/text/text_engine.ts";
import type { Random } from "../../bench/support/random.ts";
import { WHOLE } from "./extent.ts";
import { generate, type Generates } from "./generation.ts";

/** Requests of each kind of cluster; more by hand. */
export const REQUESTS = Number(Deno.env.get("TEST_REQUESTS") ?? (WHOLE ? 10 : 5));

/** Something asked for in one of many ways. @param prompt what goes on */
export function randomRequest(random: Random, prompt: GenerateOptions["prompt"]): GenerateOptions {
  const pick = <T>(...choices: readonly T[]): T => choices[random.below(choices.length)];
  const sampled = random.below(2) === 0;
  return {
    prompt,
    maxTokens: 1 + random.below(48),
    ignoreEos: random.below(3) > 0,
    logprobs: pick(null, 0, 3),
    stop: pick([], [], ["kettle", "and the"]),
    ...(sampled
      ? { temperature: pick(0.3, 0.7, 1), seed: random.below(1000), topP: pick(1, 0.9, 0.999_999), topK: pick(0, 0, 5, 200), minP: pick(0, 0, 0.05) }
      : {}),
    ...(random.below(3) === 0 ? { frequencyPenalty: pick(0, 0.4), presencePenalty: pick(0, 0.3), repetitionPenalty: pick(1, 1.1) } : {}),
    ...(random.below(4) === 0 ? { logitBias: new Map([[random.below(500), 2], [random.below(500), -5]]) } : {}),
  };
}

/** All of them together are what each is alone, without. @param meanwhile done while they run */
export async function assertSameStreams(
  engine: Generates,
  requests: readonly GenerateOptions[],
  { speculate = "auto", meanwhile = () => Promise.resolve() }: { readonly speculate?: Speculation; readonly meanwhile?: () => Promise<void> } = {},
): Promise<void> {
  const together = Promise.all(requests.map((request) => generate(engine, { ...request, speculate })));
  await meanwhile();
  const guessed = await together;
  for (const [i, request] of requests.entries()) {
    assertEquals(guessed[i], await generate(engine, { ...request, speculate: "off" }), `request ${i}: ${JSON.stringify(request)}`);
  }
}

/** What was guessed at several clusters: of few requests, all may be right, or nothing. */
export class Tried {
  #all = 0;
  #right = 0;

  /** Counts what a cluster has guessed. @throws {AssertionError} if nothing was */
  count({ scheduling: { drafted, accepted } }: RunningCluster): void {
    const [all, right] = [drafted, accepted].map((counts) => counts.reduce((sum, count) => sum + count, 0));
    assert(all > 0, "something was guessed");
    this.#all += all;
    this.#right += right;
  }

  /** @throws {AssertionError} if all that was guessed was right, or nothing */
  assertBoth(): void {
    assert(0 < this.#right && this.#right < this.#all, `${this.#right} of ${this.#all} guessed tokens were right`);
  }
}
