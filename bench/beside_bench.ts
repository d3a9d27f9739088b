/**
 * A long prompt beside running streams, on one mixed unit of the real server: the longest that a stream stands still, and how long the prompt takes, against alone. And
 * requests at once against one after the other. All over HTTP, from clients in processes of their own.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { parseModelConfig } from "../core/model/config.ts";
import { readConfigText } from "../core/model/config_text.ts";
import { openModelFiles } from "../workers/load/model_files.ts";
import type { Config } from "../mod.ts";
import { type LoadRequest, runLoad, RunningLoad, type Timing } from "./serve/load_client.ts";
import { Random } from "./support/random.ts";
import { median, printTable } from "./table.ts";
import { BenchServer } from "./whole/server.ts";

/** Tokens that every stream has before, and between, what is measured. */
const SETTLED = 40;
/** Milliseconds that streams go on when the long prompt has its first token. */
const AFTER = 500;
/** Most tokens of a stream: it is ended when the long prompt has its first token. */
const MOST_TOKENS = 3000;

/** What is asked for. */
interface Sizes {
  readonly streams: number;
  readonly context: number;
  readonly prompt: number;
}

/** Streams while a long prompt is computed. */
interface Beside {
  /** Milliseconds between tokens of streams by themselves, and while the prompt is computed. */
  readonly steps: readonly number[];
  readonly gaps: readonly number[];
  /** Milliseconds to the prompt's first token. */
  readonly firstToken: number;
}

/** Runs the bench. */
export async function besideBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      device: { type: "string", default: "dawn" },
      model: { type: "string", default: "synthetic:v2-lite" },
      weights: { type: "string", default: "keep" },
      streams: { type: "string", default: "16" },
      context: { type: "string", default: "1024" },
      prompt: { type: "string", default: "16384" },
      runs: { type: "string", default: "3" },
      "max-step-ms": { type: "string" },
    },
  });
  const [streams, context, prompt, runs] = [values.streams, values.context, values.prompt, values.runs].map(Number);
  using files = openModelFiles(values.model);
  const { vocabSize, maxPositions } = parseModelConfig(await readConfigText(files), values.model);
  const most = Math.min(MOST_TOKENS, maxPositions - context);
  if (most <= 3 * SETTLED || prompt >= maxPositions) throw new Error(`The model has ${maxPositions} positions: too few for these contexts`);
  const config: Config = {
    model: values.model,
    device: values.device as "dawn",
    weights: values.weights as "keep",
    mixed: { workers: 1, maxStepMs: values["max-step-ms"] === undefined ? undefined : Number(values["max-step-ms"]) },
    decode: { maxBatch: streams + 1, speculate: "off" },
    cache: { maxTokens: (streams + 1) * (context + most + 64) + 2 * prompt },
    server: { port: 0, maxBodyBytes: 2 ** 26, shutdownTimeout: 1 },
  };
  const stop = new AbortController();
  await using server = await BenchServer.start(config, { single: false, deviceTimes: false, signal: stop.signal });
  console.log(`${(await server.status())?.summary}; ready after ${server.readySeconds.toFixed(1)} s\n`);
  await measure(server.url, { streams, context, prompt }, { vocabSize, most, runs });
}

async function measure(
  url: string,
  sizes: Sizes,
  { vocabSize, most, runs }: { readonly vocabSize: number; readonly most: number; readonly runs: number },
): Promise<void> {
  const random = new Random(1);
  // No two begin alike, so that nothing is cached. The best token of random weights soon repeats itself, and with it the choice of experts.
  const request = (tokens: number, maxTokens: number, more: Partial<LoadRequest> = {}): LoadRequest => ({
    at: 0,
    prompt: Array.from({ length: tokens }, () => 100 + random.below(vocabSize - 200)),
    maxTokens,
    temperature: 1,
    seed: 1,
    ...more,
  });
  const streams = (maxTokens: number) => Array.from({ length: sizes.streams }, () => request(sizes.context, maxTokens));
  const alone = async () => firstTokenOf((await checked(runLoad({ url, requests: [request(sizes.prompt, 1)] })))[0]);

  // Everything has run once before it is timed, and a card that was idle has raised its clock.
  await alone();
  const apart = tokensPerSecond(await one(url, streams(SETTLED)));
  const atOnce = tokensPerSecond(await checked(runLoad({ url, requests: streams(SETTLED) })));
  const first = median([await alone(), await alone(), await alone()]);
  const table: Beside[] = [];
  for (let run = 0; run < runs; run++) {
    const long = request(sizes.prompt, 1, { after: 2 * SETTLED });
    table.push(await beside(url, [...streams(most), long]));
  }

  printTable([
    ["tokens/s of all streams, one after the other", apart.toFixed(1)],
    ["tokens/s of all streams at once", `${atOnce.toFixed(1)} (${(atOnce / apart).toFixed(1)} times)`],
    ["first token of the long prompt alone", `${first.toFixed(0)} ms`],
  ]);
  console.log("\nthe long prompt beside the streams, in steps of theirs and times of its own alone:\n");
  printTable([
    ["run", "median step", "longest", "median gap meanwhile", "longest", "first token"],
    ...table.map(({ steps, gaps, firstToken }, run) => {
      const step = median(steps);
      const inSteps = (milliseconds: number) => `${milliseconds.toFixed(1)} ms (${(milliseconds / step).toFixed(2)})`;
      return [
        String(run + 1),
        `${step.toFixed(2)} ms`,
        inSteps(Math.max(...steps)),
        inSteps(median(gaps)),
        inSteps(Math.max(...gaps)),
        `${firstToken.toFixed(0)} ms (${(firstToken / first).toFixed(2)})`,
      ];
    }),
  ]);
}

/** Streams, and a long prompt when all of them run; they end with its first token. */
async function beside(url: string, requests: readonly LoadRequest[]): Promise<Beside> {
  await using load: RunningLoad = new RunningLoad({ url, requests }, ({ kind }) => {
    // Whoever waits for a token meanwhile is to get it.
    if (kind === "ended") setTimeout(() => void load.stop(), AFTER);
  });
  const timings = await checked(load.timings);
  const [long, running] = [timings.at(-1)!, timings.slice(0, -1)];
  const [came, ended] = [long.sentAt, long.sentAt + firstTokenOf(long)];
  const arrivals = running.map(({ sentAt, tokens }) => tokens.map(([at]) => sentAt + at));
  if (arrivals.some((times) => times.at(-1)! < ended)) throw new Error("A stream had no token any more when the prompt had its first");
  // Before all have settled, prompts are computed beside those that run.
  const settled = Math.max(...arrivals.map((times) => times[SETTLED]));
  return {
    steps: arrivals.flatMap((times) => gapsOf(times.filter((time) => time >= settled && time <= came))),
    // Those that began before its end, whole.
    gaps: arrivals.flatMap((times) => gapsOf(times.filter((_, i) => (times[i + 1] ?? Infinity) >= came && (times[i - 1] ?? 0) <= ended))),
    firstToken: ended - came,
  };
}

/** One request after the other, as one list that began with the first. */
async function one(url: string, requests: readonly LoadRequest[]): Promise<Timing[]> {
  const all: Timing[] = [];
  let before = 0;
  for (const request of requests) {
    const [timing] = await checked(runLoad({ url, requests: [request] }));
    all.push({ ...timing, sentAt: before });
    before += timing.endedAt;
  }
  return all;
}

async function checked(load: Promise<readonly Timing[]>): Promise<readonly Timing[]> {
  const timings = await load;
  const failed = timings.find(({ error }) => error !== null);
  if (failed !== undefined) throw new Error(`A request failed: ${failed.error}`);
  return timings;
}

function tokensPerSecond(timings: readonly Timing[]): number {
  const count = timings.reduce((sum, { tokens }) => sum + tokens.reduce((sum, [, count]) => sum + count, 0), 0);
  return count / Math.max(...timings.map(({ sentAt, endedAt }) => sentAt + endedAt)) * 1000;
}

function firstTokenOf({ tokens }: Timing): number {
  if (tokens.length === 0) throw new Error("A request ended without a token");
  return tokens[0][0];
}

function gapsOf(times: readonly number[]): number[] {
  return times.slice(1).map((time, i) => time - times[i]);
}
