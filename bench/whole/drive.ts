/**
 * Drives one case through a server, as clients do.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import type { ModelSpec } from "../../core/model/spec.ts";
import { Random } from "../support/random.ts";
import { type Load, type LoadRequest, RunningLoad, type Timing } from "../serve/load_client.ts";
import { type Case, nameOf, type WholeOptions } from "./options.ts";
import type { CaseTimes, PromptShare, StepShare } from "./result.ts";
import type { BenchServer, ServerTotals } from "./server.ts";
import { promptShareOf, shareOf } from "./shares.ts";
import { mostGenerated, SPARE, WARM_UP } from "./sizing.ts";
import { timesOf } from "./times.ts";
import { boundsFor, Watch } from "./watch.ts";

/** What a case gave. */
export interface Driven {
  readonly times: CaseTimes;
  readonly prompt: PromptShare | null;
  readonly step: StepShare | null;
}

/** What a load gave. */
interface Played {
  readonly timings: readonly Timing[];
  /** When all streams had their first tokens. */
  readonly running: ServerTotals | null;
  /** When they had what counts; null where nothing did. */
  readonly measured: ServerTotals | null;
}

/**
 * Measures one case. A stream that is alone is measured from its prompt to its end. Several are asked twice: first for two tokens each, which is when prompts are
 * computed and handed over; then again, now that all prompts are cached, so that all run at once and none is far ahead. Where they are to be asked once, the first
 * ones go on until the last one has begun.
 *
 * @throws {Error} if a request fails
 * @throws {HangError} if nothing happens any more
 */
export async function driveCase(server: BenchServer, one: Case, spec: ModelSpec, options: WholeOptions): Promise<Driven> {
  const { tokens } = options;
  const prompts = promptsOf(one, spec, options);
  const promptTokens = one.batch * one.context;
  const requests = (maxTokens: number) => prompts.map((prompt, i) => requestOf(prompt, maxTokens, i));
  const most = mostGenerated(one, options);
  const before = await server.totals();
  const name = nameOf(one);
  // Of two tokens each: for the first alone, no decode group would be given the prompt.
  const first = one.batch === 1 || options.once ? null : await play(server, { requests: requests(2) }, one.context, `${name}, prompts`);
  const again = await server.totals();
  const together = await play(server, { requests: requests(most), together: tokens + SPARE }, one.context, name);
  const { running, measured, timings } = together;
  const computed = first?.running ?? running;
  if (first !== null && again !== null && running !== null) warnOfUncached(one, running.cachedTokens - again.cachedTokens);
  return {
    times: timesOf({ first: first?.timings ?? timings, together: timings, tokens, promptTokens }),
    prompt: before === null || computed === null ? null : promptShareOf(before, computed, one.batch),
    step: running === null || measured === null ? null : shareOf(running, measured),
  };
}

/** Prompts that must be computed once more begin to be decoded one after the other. @param cached tokens of all prompts that were not */
function warnOfUncached({ batch, context }: Case, cached: number): void {
  // Whole blocks, without a prompt's last token.
  const cacheable = batch * Math.floor((context - 1) / BLOCK_TOKENS) * BLOCK_TOKENS;
  if (cached < cacheable) {
    console.log(`  (only ${cached} of ${cacheable} tokens were cached when prompts came again: streams did not begin together)`);
  }
}

/** Runs everything once that a case will run, with as many streams. */
export async function warmUp(server: BenchServer, batch: number, spec: ModelSpec, options: WholeOptions): Promise<void> {
  const prompts = promptsOf({ batch, context: WARM_UP.prompt }, spec, { ...options, prefix: 0 });
  await play(server, { requests: prompts.map((prompt, i) => requestOf(prompt, WARM_UP.tokens, i)) }, WARM_UP.prompt, "warming up");
}

/**
 * Milliseconds of work after which a card runs at its full clock. One that was idle begins at a sixth of it, and takes two seconds: a prompt of 4096 tokens takes 0.36 s
 * then instead of 0.11 (bench/NOTES.md).
 */
const AWAKE = 2500;

/** Works until a card has raised its clock. */
export async function wake(server: BenchServer, batch: number, spec: ModelSpec, options: WholeOptions): Promise<void> {
  const began = performance.now();
  do await warmUp(server, batch, spec, options); while (performance.now() - began < AWAKE);
}

/** The best token of random weights soon repeats itself, and streams that end up at the same one use the same experts: so tokens are drawn. */
function requestOf(prompt: readonly number[], maxTokens: number, stream: number): LoadRequest {
  return { at: 0, prompt, maxTokens, temperature: 1, seed: stream };
}

/** Milliseconds between two lines about what takes long. */
const TELL_INTERVAL = 10_000;

/** @param what the name of what is played, for progress */
async function play(server: BenchServer, load: Omit<Load, "url">, promptTokens: number, what: string): Promise<Played> {
  using watch = new Watch(server, boundsFor(promptTokens));
  const began = performance.now();
  let told = began;
  let begun: Promise<ServerTotals | null> = Promise.resolve(null);
  let measured = begun;
  await using running = new RunningLoad({ ...load, url: server.url }, (event) => {
    switch (event.kind) {
      case "progress":
        watch.tokens();
        if (performance.now() - told < TELL_INTERVAL) return;
        told = performance.now();
        console.log(
          `  ${what}: ${event.begun} of ${load.requests.length} streams have begun, ${event.tokens} tokens, ${((told - began) / 1000).toFixed(0)} s`,
        );
        return;
      case "running":
        watch.allBegun();
        begun = server.totals();
        return;
      case "ended":
        return;
      case "measured":
        measured = server.totals();
        void measured.then(() => running.stop());
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
  return { timings, running: await begun, measured: await measured };
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
