/**
 * What cells are asked for while something happens to them, and what is right.
 *
 * @module
 */
import { ask, type ChaosRequest, type Manner, type Outcome } from "../chaos/requests.ts";
import { Random } from "../support/random.ts";

/** Whoever gets a stream in peace. */
export const STREAM: Manner = { stream: true, leavesAfter: null, slowness: 0 };
const WHOLE: Manner = { ...STREAM, stream: false };

/** Streams that are asked for again and again, greedy and drawn. */
export function streamRequests(count: number): ChaosRequest[] {
  const random = new Random(7);
  return Array.from({ length: count }, (_, i) => ({
    path: "/v1/completions",
    body: {
      prompt: Array.from({ length: 8 + random.below(90) }, () => 100 + random.below(4000)),
      max_tokens: 64 + random.below(64),
      ignore_eos: true,
      temperature: i % 2,
      seed: i,
      return_token_ids: true,
    },
  }));
}

/** Answers of requests of which a few at a time are computed, while nothing happens. @throws {Error} if one is refused */
export async function learn(urls: readonly string[], requests: readonly ChaosRequest[], atOnce = 4): Promise<string[]> {
  const answers: string[] = [];
  let next = 0;
  const worker = async () => {
    while (next < requests.length) {
      const i = next++;
      const outcome = await ask(urls[i % urls.length], requests[i], STREAM);
      if (outcome.kind !== "answered") throw new Error(`request ${i} in peace: ${JSON.stringify(outcome)}`);
      answers[i] = outcome.answer;
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return answers;
}

/** An outcome, or that there was none in time. */
export function inTime(asked: Promise<Outcome>, milliseconds: number): Promise<Outcome | "hung"> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<"hung">((resolve) => timer = setTimeout(resolve, milliseconds, "hung"));
  return Promise.race([asked, late]).finally(() => clearTimeout(timer));
}

/** What came of requests while something happened. */
export interface Load {
  readonly asked: number;
  /** What failed, in words. */
  readonly failures: readonly string[];
}

/** Asks all fronts on and on while something happens, each with streams and whole answers. */
export async function underLoad(urls: readonly string[], happens: () => Promise<void>): Promise<Load> {
  let [done, asked] = [false, 0];
  const failures: string[] = [];
  const clients = urls.flatMap((url) => [STREAM, WHOLE].map((manner) => ({ url, manner }))).map(async ({ url, manner }, client) => {
    for (let n = 0; !done; n++) {
      asked++;
      const body = { prompt: [200 + client, 300 + (n % 1000), 400], max_tokens: 12, ignore_eos: true, temperature: 0, return_token_ids: true };
      const outcome = await inTime(ask(url, { path: "/v1/completions", body }, manner), 120_000);
      if (outcome === "hung" || outcome.kind !== "answered") failures.push(outcome === "hung" ? outcome : JSON.stringify(outcome));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  });
  try {
    await happens();
  } finally {
    done = true;
    await Promise.all(clients);
  }
  return { asked, failures };
}
