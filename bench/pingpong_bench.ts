/**
 * When it pays to run halves of a step side by side: decode speed of both ways against the latency of links between ranks.
 *
 * @module
 */
import { RunningCluster } from "../cluster/cluster.ts";
import { clusterServices } from "../cluster/compose.ts";
import { resolveSettings } from "../cluster/config/settings.ts";
import { spawnWorker } from "../cluster/processes/spawn.ts";
import type { DeviceChoice } from "../mod.ts";
import { UNIX_HOST } from "../workers/links/transport.ts";
import { printTable } from "./table.ts";

/** Steps before measuring, and measured. */
const WARM = 5;
const STEPS = 20;

/** Runs the bench. */
export async function pingPongBench([device = "cpu", batch = "16", delays = "0,2,5,10,20"]: readonly string[]): Promise<void> {
  const rows = [["latency of links, ms", "simple, ms per step", "ping-pong, ms per step", "ratio"]];
  for (const ms of delays.split(",").map(Number)) {
    const simple = await stepMs(device as DeviceChoice, Number(batch), ms, false);
    const halves = await stepMs(device as DeviceChoice, Number(batch), ms, true);
    rows.push([String(ms), simple.toFixed(1), halves.toFixed(1), (halves / simple).toFixed(2)]);
  }
  printTable([[`embedded model, ${device}, two ranks, batch ${batch}`], ...rows]);
}

async function stepMs(device: DeviceChoice, batch: number, delay: number, pingPong: boolean): Promise<number> {
  const entry = new URL(`./slow_worker.ts?ms=${delay}`, import.meta.url);
  const cluster = await RunningCluster.launch(
    resolveSettings({ device, decode: { pingPong, maxBatch: batch, deadlineMs: 30_000, speculate: "off" } }, {}, () => undefined),
    { ...clusterServices, spawn: (options) => spawnWorker({ ...options, entry, unixHost: UNIX_HOST }) },
  );
  const stop = new AbortController();
  const running = Array.from({ length: batch }, async (_, i) => {
    const options = { prompt: [100 + i, 200, 300, 400], maxTokens: 500, ignoreEos: true, signal: stop.signal };
    for await (const _ of cluster.generate(options));
  });
  const until = async (condition: () => boolean) => {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  await until(() => cluster.scheduling.running === batch);
  const warm = cluster.stepTimes.steps + WARM;
  await until(() => cluster.stepTimes.steps >= warm);
  const before = { ...cluster.stepTimes };
  await until(() => cluster.stepTimes.steps >= before.steps + STEPS);
  const { steps, totalMs } = cluster.stepTimes;
  stop.abort();
  await Promise.allSettled(running);
  await cluster.close();
  return (totalMs - before.totalMs) / (steps - before.steps);
}
