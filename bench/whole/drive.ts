/**
 * Drives one case through a server, as clients do.
 *
 * @module
 */
import type { ModelSpec } from "../../core/model/spec.ts";
import { Random } from "../../tests/support/random.ts";
import { type Load, type LoadRequest, RunningLoad, type Timing } from "../serve/load_client.ts";
import type { Case, WholeOptions } from "./options.ts";
import type { CaseTimes, StepShare } from "./result.ts";
import type { BenchServer, ServerTotals } from "./server.ts";
import { shareOf } from "./shares.ts";
import { mostGenerated, WARM_UP } from "./sizing.ts";
import { timesOf } from "./times.ts";
import { boundsFor, Watch } from "./watch.ts";

/** What a case gave. */
export interface Driven {
  readonly times: CaseTimes;
  readonly step: StepShare | null;
}

/** What a load gave. */
interface Played {
  readonly timings: readonly Timing[];
  /** When all streams ran, and when they had what counts; null where that was not asked for. */
  readonly before: ServerTotals | null;
  readonly after: ServerTotals | null;
}

/**
 * Measures one case. A stream that is alone is measured from its prompt to its end. Several are asked twice: first for one token each, which is when prompts are
 * computed; then again, now that all prompts are cached, so that all run at once and none is far ahead.
 *
 * @throws {Error} if a request fails
 * @throws {HangError} if nothing happens any more
 */
export async function driveCase(server: BenchServer, one: Case, spec: ModelSpec, options: WholeOptions): Promise<Driven> {
  const { tokens } = options;
  const prompts = promptsOf(one, spec, options);
  const promptTokens = one.batch * one.context;
  const requests = (maxTokens: number) => prompts.map((prompt, i) => requestOf(prompt, maxTokens, i));
  const most = mostGenerated(one, tokens);
  const first = one.batch === 1 ? null : await play(server, { requests: requests(1) }, one.context);
  const { timings, before, after } = await play(server, { requests: requests(most), together: tokens }, one.context);
  return {
    times: timesOf({ first: first?.timings ?? timings, together: timings, tokens, promptTokens }),
    step: before === null || after === null ? null : shareOf(before, after),
  };
}

/** Runs everything once that a case will run, with as many streams. */
export async function warmUp(server: BenchServer, batch: number, spec: ModelSpec, options: WholeOptions): Promise<void> {
  const prompts = promptsOf({ batch, context: WARM_UP.prompt }, spec, { ...options, prefix: 0 });
  await play(server, { requests: prompts.map((prompt, i) => requestOf(prompt, WARM_UP.tokens, i)) }, WARM_UP.prompt);
}

/** The best token of random weights soon repeats itself, and streams that end up at the same one use the same experts: so tokens are drawn. */
function requestOf(prompt: readonly number[], maxTokens: number, stream: number): LoadRequest {
  return { at: 0, prompt, maxTokens, temperature: 1, seed: stream };
}

async function play(server: BenchServer, load: Omit<Load, "url">, promptTokens: number): Promise<Played> {
  using watch = new Watch(server, boundsFor(promptTokens));
  let before: Promise<ServerTotals | null> = Promise.resolve(null);
  let after = before;
  await using running = new RunningLoad({ ...load, url: server.url }, (event) => {
    switch (event.kind) {
      case "progress":
        return watch.tokens();
      case "running":
        watch.allBegun();
        if (load.together !== undefined) before = server.totals();
        return;
      case "measured":
        after = server.totals();
        void after.then(() => running.stop());
        return;
      default:
        event satisfies never;
    }
  });
  const timings = await Promise.race([running.timings, watch.hung]);
  const failed = timings.find(({ error }) => error !== null);
  if (failed !== undefined) throw new Error(`A request failed: ${failed.error}`);
  const silent = timings.findIndex(({ tokens }) => tokens.length === 0);
  if (silent >= 0) throw new Error(`Stream ${silent} ended without a token`);
  return { timings, before: await before, after: await after };
}

/** Random prompts: no two of a run begin alike, but for the tokens that were asked for. */
function promptsOf({ batch, context }: Case, { vocabSize }: ModelSpec, { prefix }: WholeOptions): number[][] {
  // Markers are at the beginning or at the end of a vocabulary.
  const first = Math.min(256, Math.floor(vocabSize / 2));
  const count = Math.floor((vocabSize - first) * 0.9);
  const draw = (seed: number, length: number) => {
    const random = new Random(seed);
    return Array.from({ length }, () => first + random.below(count));
  };
  const shared = draw(context, Math.min(prefix, context));
  return Array.from({ length: batch }, (_, stream) => [...shared, ...draw(((context * 31 + batch) * 1009 + stream) * 7919, context - shared.length)]);
}
