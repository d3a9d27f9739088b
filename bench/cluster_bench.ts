/**
 * A whole cluster of the embedded model: decode speed beside one process with the time split into compute, exchange and coordinator, and how long a
 * killed rank is missed.
 *
 * @module
 */
import { Cluster, type DeviceChoice, Engine } from "../mod.ts";
import type { RunningCluster } from "../cluster/cluster.ts";
import { median, printTable } from "./table.ts";

const TOKENS = 200;
const ask = { prompt: "And it came to pass in those days", maxTokens: TOKENS, ignoreEos: true };
const model = new URL("../models/tiny-mla", import.meta.url).pathname;

/** Tokens per second of the second of two generations, first token left out. */
async function tokensPerSecond(engine: Pick<RunningCluster, "generate">, between: () => void = () => {}): Promise<number> {
  for await (const _ of engine.generate(ask));
  between();
  let started = 0;
  let tokens = 0;
  for await (const piece of engine.generate(ask)) {
    if (started === 0) started = performance.now();
    else tokens += piece.tokens.length;
  }
  return tokens / (performance.now() - started) * 1000;
}

/** Runs the bench. */
export async function clusterBench([ranks = "2", choice = "cpu", gpus]: readonly string[]): Promise<void> {
  const device = choice as DeviceChoice;
  const engine = await Engine.load({ model, device, speculate: "off", dawn: Deno.env.get("LATENTMESH_DAWN") });
  const single = await tokensPerSecond(engine);
  await engine.close();

  const hosts = gpus === undefined ? undefined : [{ name: "here", gpus: gpus.split(",").map(Number) }];
  const cluster = await Cluster.start({ model, device, decode: { ranks: Number(ranks), speculate: "off" }, cluster: { hosts } });
  let before = { ...cluster.stepTimes };
  const speed = await tokensPerSecond(cluster, () => before = { ...cluster.stepTimes });
  const perStep = (key: "computeMs" | "exchangeMs" | "totalMs") => (cluster.stepTimes[key] - before[key]) / (cluster.stepTimes.steps - before.steps);
  const [compute, exchange, total] = [perStep("computeMs"), perStep("exchangeMs"), perStep("totalMs")];
  const perToken = 1000 / speed;
  const row = (name: string, value: string) => [name, value];
  printTable([
    [`embedded model, ${cluster.device}`, ""],
    row("one process", `${single.toFixed(1)} tokens/s`),
    row(`${ranks} decode ranks`, `${speed.toFixed(1)} tokens/s`),
    row("time per token", `${perToken.toFixed(2)} ms`),
    row("  compute, slowest rank", `${compute.toFixed(2)} ms`),
    row("  exchange", `${exchange.toFixed(2)} ms`),
    row("  coordinator: messages, sampling, text", `${(perToken - compute - exchange).toFixed(2)} ms`),
    row("  of which between request and replies", `${(total - compute - exchange).toFixed(2)} ms`),
  ]);
  console.log("");
  await measureRecovery(cluster);
  await cluster.close();
}

/** How long a stream pauses when a decode rank dies, over some deaths. */
async function measureRecovery(cluster: RunningCluster): Promise<void> {
  const pauses: number[] = [];
  for (let death = 0; death < 3; death++) {
    const [{ pid }] = await cluster.status();
    let [last, tokens, longest] = [0, 0, 0];
    for await (const piece of cluster.generate(ask)) {
      const now = performance.now();
      if (tokens > TOKENS / 2) longest = Math.max(longest, now - last);
      const before = tokens;
      tokens += piece.tokens.length;
      last = now;
      if (before <= TOKENS / 2 && tokens > TOKENS / 2) Deno.kill(pid, "SIGKILL");
    }
    pauses.push(longest);
  }
  printTable([["a decode rank is killed in the middle of a generation", ""], [
    "until its stream goes on",
    `${median(pauses).toFixed(0)} ms, at most ${Math.max(...pauses).toFixed(0)} ms`,
  ]]);
}
