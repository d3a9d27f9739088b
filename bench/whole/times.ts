/**
 * What clients saw, from when their tokens came.
 *
 * @module
 */
import type { Timing } from "../serve/load_client.ts";
import { median, percentile } from "../table.ts";
import type { CaseTimes, Spread } from "./result.ts";

/** Steps that are told apart from those that follow: some things are slow only at first. */
export const FIRST_STEPS = 64;

/** How a load was measured. */
export interface Measured {
  /** Streams from their prompts to their first tokens. */
  readonly first: readonly Timing[];
  /** Streams that all ran together for a while. */
  readonly together: readonly Timing[];
  /** Tokens of each of them that count, when all run. */
  readonly tokens: number;
  /** Tokens of all prompts. */
  readonly promptTokens: number;
}

/** @throws {Error} if streams did not run together for long enough */
export function timesOf({ first, together, tokens, promptTokens }: Measured): CaseTimes {
  const firstTokens = first.map(({ sentAt, tokens }) => ({ after: tokens[0][0], at: sentAt + tokens[0][0] }));
  const begun = Math.max(...together.map(({ sentAt, tokens }) => sentAt + tokens[0][0]));
  const streams = together.map((timing) => arrivals(timing).filter((at) => at >= begun));
  const least = Math.min(...streams.map(({ length }) => length));
  if (least <= tokens) throw new Error(`A stream had ${least - 1} tokens when all ran, ${tokens} are to count: it ended before others had begun`);
  const ended = Math.max(...streams.map((stream) => stream[tokens]));
  const spans = streams.map((stream) => stream.slice(1, tokens + 1).map((at, i) => at - stream[i]));
  const later = spans.flatMap((spans) => spans.slice(FIRST_STEPS));
  const count = streams.reduce((sum, stream) => sum + stream.filter((at) => at > begun && at <= ended).length, 0);
  return {
    firstToken: { p50: median(firstTokens.map(({ after }) => after)), max: Math.max(...firstTokens.map(({ after }) => after)) },
    prefillTokensPerSecond: promptTokens / Math.max(...firstTokens.map(({ at }) => at)) * 1000,
    firstSteps: spreadOf(spans.flatMap((spans) => spans.slice(0, FIRST_STEPS))),
    laterSteps: later.length === 0 ? null : spreadOf(later),
    tokensPerSecond: count / (ended - begun) * 1000,
  };
}

/** When each token came; those of one event are as far apart as if they had come one by one. */
function arrivals({ sentAt, tokens }: Timing): number[] {
  let before = 0;
  return tokens.flatMap(([at, count]) => {
    const [from, span] = [before, at - before];
    before = at;
    return Array.from({ length: count }, (_, i) => sentAt + from + span * (i + 1) / count);
  });
}

function spreadOf(spans: readonly number[]): Spread {
  return { p50: median(spans), p99: percentile(spans, 0.99) };
}
