/**
 * A long prompt beside running streams, on one mixed unit: the longest that a stream stands still, and how long the prompt takes, against alone. And requests at
 * once against one after the other.
 *
 * @module
 */
import { parseArgs } from "node:util";
import type { TokenEvent, TokenRequest } from "../core/engine.ts";
import { GREEDY } from "../core/sampling/params.ts";
import { Cluster, type RunningCluster } from "../mod.ts";
import { Random } from "./support/random.ts";
import { median, printTable } from "./table.ts";

/** Tokens that every stream has before, and between, what is measured. */
const SETTLED = 40;

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
      "max-step-ms": { type: "string" },
    },
  });
  const [streams, context, prompt] = [values.streams, values.context, values.prompt].map(Number);
  const cluster = await Cluster.start({
    model: values.model,
    device: values.device as "dawn",
    weights: values.weights as "keep",
    mixed: { workers: 1, maxStepMs: values["max-step-ms"] === undefined ? undefined : Number(values["max-step-ms"]) },
    decode: { maxBatch: streams + 1 },
    cache: { maxTokens: (streams + 1) * (context + 4096) + 2 * prompt },
  });
  try {
    console.log(`${cluster.device}\n${cluster.summary}\n`);
    await measure(cluster, { streams, context, prompt });
  } finally {
    await cluster.close({ now: true });
  }
}

async function measure(
  cluster: RunningCluster,
  sizes: { readonly streams: number; readonly context: number; readonly prompt: number },
): Promise<void> {
  const random = new Random(1);
  const promptOf = (tokens: number) => Array.from({ length: tokens }, () => 100 + random.below(cluster.spec.vocabSize - 200));
  const short = Array.from({ length: sizes.streams }, () => promptOf(sizes.context));
  const long = promptOf(sizes.prompt);
  // Everything has run once before it is timed. Each has a client of its own, so that nothing is cached.
  await firstToken(cluster, long, "warm up");
  const alone = median([await firstToken(cluster, long, "alone 1"), await firstToken(cluster, long, "alone 2")]);

  const one = await apart(cluster, short, "apart");
  const all = await atOnce(cluster, short, "at once");

  const running = new AbortController();
  const arrivals: number[][] = short.map(() => []);
  const generating = short.map((tokens, i) =>
    generate(cluster, tokens, `stream ${i}`, { maxTokens: 100_000, signal: running.signal }, () => arrivals[i].push(performance.now())).catch(
      () => {},
    )
  );
  const reached = async (count: number) => {
    while (arrivals.some(({ length }) => length < count)) await new Promise((resolve) => setTimeout(resolve, 1));
  };
  // Until then prompts are computed beside those that run.
  await reached(SETTLED);
  const settled = performance.now();
  await reached(Math.max(...arrivals.map(({ length }) => length)) + SETTLED);
  const steps = arrivals.flatMap((times) => gapsOf(times.filter((time) => time >= settled)));
  const came = performance.now();
  const beside = await firstToken(cluster, long, "beside");
  const ended = performance.now();
  const during = arrivals.flatMap((times) => gapsOf(times.filter((time, i) => (times[i + 1] ?? time) >= came && time <= ended)));
  running.abort();
  await Promise.all(generating);
  const step = median(steps);
  const longest = Math.max(...during);
  printTable([
    ["tokens/s of all streams, one after the other", one.toFixed(1)],
    ["tokens/s of all streams at once", `${all.toFixed(1)} (${(all / one).toFixed(1)} times)`],
    ["median step of the streams", `${step.toFixed(2)} ms`],
    ["longest of them", `${Math.max(...steps).toFixed(2)} ms`],
    ["median gap while the long prompt is computed", `${median(during).toFixed(2)} ms (${(median(during) / step).toFixed(2)} steps)`],
    ["longest of them", `${longest.toFixed(2)} ms (${(longest / step).toFixed(2)} steps)`],
    ["its first token alone", `${alone.toFixed(0)} ms`],
    ["its first token beside the streams", `${beside.toFixed(0)} ms (${(beside / alone).toFixed(2)} times)`],
  ]);
}

async function apart(cluster: RunningCluster, prompts: readonly number[][], client: string): Promise<number> {
  const started = performance.now();
  for (const [i, tokens] of prompts.entries()) await generate(cluster, tokens, `${client} ${i}`, { maxTokens: SETTLED }, () => {});
  return prompts.length * SETTLED / (performance.now() - started) * 1000;
}

async function atOnce(cluster: RunningCluster, prompts: readonly number[][], client: string): Promise<number> {
  const started = performance.now();
  await Promise.all(prompts.map((tokens, i) => generate(cluster, tokens, `${client} ${i}`, { maxTokens: SETTLED }, () => {})));
  return prompts.length * SETTLED / (performance.now() - started) * 1000;
}

async function firstToken(cluster: RunningCluster, prompt: readonly number[], client: string): Promise<number> {
  const started = performance.now();
  let first = 0;
  await generate(cluster, prompt, client, { maxTokens: 1 }, () => first ||= performance.now() - started);
  return first;
}

/** @param onToken told of every token */
async function generate(
  cluster: RunningCluster,
  prompt: readonly number[],
  client: string,
  { maxTokens, signal = new AbortController().signal }: Pick<TokenRequest, "maxTokens"> & { readonly signal?: AbortSignal },
  onToken: () => void,
): Promise<void> {
  // The best token of random weights soon repeats itself, and with it the choice of experts.
  const sampling = { ...GREEDY, temperature: 1, seed: 1 };
  const request = { prompt, client, maxTokens, sampling, choice: 0, stopTokens: new Set<number>(), logprobs: null, promptLogprobs: null, signal };
  await cluster.served.engine.generate(request, ({ kind }: TokenEvent) => {
    if (kind === "token") onToken();
  });
}

function gapsOf(times: readonly number[]): number[] {
  return times.slice(1).map((time, i) => time - times[i]);
}
