/**
 * A server under load, as `vllm bench serve` measures it: time to first token, time per output token, inter-token latency, goodput and throughput against the
 * request rate. Arrivals are a Poisson process, the same in every run. Writes JSON and a page with plots.
 *
 * @module
 */
import { Cluster, type DeviceChoice } from "../mod.ts";
import { Random } from "./support/random.ts";
import { serveModel } from "./support/server.ts";
import { type LoadRequest, runLoad, type Timing } from "./serve/load_client.ts";
import type { Percentiles, ServeResult } from "./serve/result.ts";
import { plotPage } from "./serve/plots.ts";
import { percentile, printTable } from "./table.ts";

const model = new URL("../models/tiny-mla", import.meta.url).pathname;

/** What counts as served well: first token and tokens after it, in milliseconds. */
const GOOD = { firstMs: 2000, perTokenMs: 200 };

function requestsAt(rate: number, count: number): LoadRequest[] {
  const random = new Random(Math.round(rate * 1000));
  let at = 0;
  return Array.from({ length: count }, (_, i) => {
    at += -Math.log(1 - random.next()) / rate * 1000;
    return { at, prompt: Array.from({ length: 8 + random.below(56) }, (_, t) => 100 + ((i * 31 + t * 7) % 4000)), maxTokens: 8 + random.below(56) };
  });
}

function percentiles(values: readonly number[]): Percentiles {
  const at = (fraction: number) => values.length === 0 ? 0 : Math.round(percentile(values, fraction) * 10) / 10;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99) };
}

function resultOf(rate: number, timings: readonly Timing[]): ServeResult {
  const done = timings.filter(({ error, tokens }) => error === null && tokens.length > 0);
  const seconds = Math.max(...timings.map(({ sentAt, endedAt }) => sentAt + endedAt)) / 1000;
  const first = done.map(({ tokens }) => tokens[0][0]);
  const count = ({ tokens }: Timing) => tokens.reduce((sum, [, n]) => sum + n, 0);
  const perToken = done.map((timing) => (timing.tokens.at(-1)![0] - timing.tokens[0][0]) / Math.max(1, count(timing) - 1));
  const between = done.flatMap(({ tokens }) => tokens.slice(1).map(([at], i) => at - tokens[i][0]));
  const good = done.filter((_, i) => first[i] <= GOOD.firstMs && perToken[i] <= GOOD.perTokenMs).length;
  return {
    rate,
    completedRate: done.length / seconds,
    requests: timings.length,
    failed: timings.length - done.length,
    tokensPerSecond: done.reduce((sum, timing) => sum + count(timing), 0) / seconds,
    goodput: good / seconds,
    ttft: percentiles(first),
    tpot: percentiles(perToken),
    itl: percentiles(between),
  };
}

/** Runs the bench. */
export async function serveBench([choice = "cpu", rates = "0.5,1,2,4,8", count = "40", out = "bench/results"]: readonly string[]): Promise<void> {
  const device = choice as DeviceChoice;
  const cluster = await Cluster.start({ model, device });
  const server = await serveModel(cluster.served);
  const { url } = server;
  await runLoad({ url, requests: requestsAt(4, 4) });
  const results: ServeResult[] = [];
  for (const rate of rates.split(",").map(Number)) results.push(resultOf(rate, await runLoad({ url, requests: requestsAt(rate, Number(count)) })));
  const report = {
    model: "tiny-mla",
    device: cluster.device,
    cluster: cluster.summary,
    date: new Date().toISOString().slice(0, 10),
    command: `deno task bench serve ${[choice, rates, count].join(" ")}`,
    good: GOOD,
    results,
  };
  await server.close();
  await cluster.close();
  await Deno.mkdir(out, { recursive: true });
  await Deno.writeTextFile(`${out}/serve.json`, JSON.stringify(report, null, 2) + "\n");
  await Deno.writeTextFile(`${out}/serve.html`, plotPage(report));
  const ms = ({ p50, p90, p99 }: Percentiles) => `${p50.toFixed(0)} / ${p90.toFixed(0)} / ${p99.toFixed(0)}`;
  printTable([
    ["requests/s", "completed/s", "failed", "tokens/s", "goodput/s", "TTFT p50/p90/p99 ms", "TPOT ms", "ITL ms"],
    ...results.map(({ rate, completedRate, failed, tokensPerSecond, goodput, ttft, tpot, itl }) => [
      String(rate),
      completedRate.toFixed(2),
      String(failed),
      tokensPerSecond.toFixed(1),
      goodput.toFixed(2),
      ms(ttft),
      ms(tpot),
      ms(itl),
    ]),
  ]);
  console.log(`\n${report.device}; ${report.cluster}\nwritten to ${out}/serve.json and ${out}/serve.html`);
}
