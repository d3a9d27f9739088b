/**
 * Throughput against batch size through the whole server, and the coordinator's own CPU time per decode step: messages, sampling, detokenising and SSE.
 *
 * @module
 */
import process from "node:process";
import type { RunningCluster } from "../cluster/cluster.ts";
import { serveModel } from "./support/server.ts";
import { Cluster, type DeviceChoice } from "../mod.ts";
import { RunningLoad } from "./serve/load_client.ts";
import { printTable } from "./table.ts";

const model = new URL("../models/tiny-mla", import.meta.url).pathname;
/** More than are measured: clients go away when it is done. */
const TOKENS = 1500;
/**
 * Steps that are measured, and steps before them in which the code gets warm: the coordinator's second 250 steps take a tenth less than the first, the third
 * another tenth, and then no less. Fewer where they take longer than {@link SECONDS}.
 */
const [STEPS, WARM_UP_STEPS] = [300, 700];
const SECONDS = 15;

/** Runs the bench. */
export async function batchBench([choice = "cpu", ranks = "2", batches = "1,4,16,64", mode = "simple"]: readonly string[]): Promise<void> {
  const device = choice as DeviceChoice;
  const cluster = await Cluster.start({
    model,
    device,
    // So many that nobody is preempted.
    cache: { maxTokens: 131072 },
    prefill: { cacheTokens: 2048 },
    decode: { ranks: Number(ranks), maxBatch: Math.max(...batches.split(",").map(Number)), pingPong: mode === "ping-pong", speculate: "off" },
  });
  const server = await serveModel(cluster.served);
  const { url } = server;
  const rows: string[][] = [["batch", "tokens/s", "ms per step", "coordinator CPU, ms per step"]];
  const speeds = new Map<number, number>();
  for (const [run, batch] of [1, ...batches.split(",").map(Number)].entries()) {
    // The step in which a batch was ended must be through, too.
    await until(() => cluster.scheduling.active === 0 && cluster.scheduling.running === 0);
    const requests = Array.from({ length: batch }, (_, i) => ({ at: 0, prompt: [100 + i, 200, 300, 400], maxTokens: TOKENS }));
    await using _ = new RunningLoad({ url, requests });
    const { tokens, ms, steps, cpuMs, stepMs } = await measureFull(cluster, batch);
    const speed = tokens / ms * 1000;
    // The first run warms up.
    if (run === 0) continue;
    speeds.set(batch, speed);
    rows.push([String(batch), speed.toFixed(1), (stepMs / steps).toFixed(2), (cpuMs / steps).toFixed(2)]);
  }
  printTable([[`embedded model, ${cluster.device}`], ...rows]);
  const one = speeds.get(1);
  for (const [batch, speed] of speeds) {
    if (one !== undefined && batch > 1) console.log(`batch ${batch} against batch 1: ${(speed / one).toFixed(2)} x`);
  }
  await server.close();
  await cluster.close();
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 100));
}

/** What happens while every sequence of a batch is decoding, and no prompt is computed. */
async function measureFull(cluster: RunningCluster, batch: number) {
  const full = () => cluster.scheduling.running === batch;
  await until(full);
  const steps = async (count: number) => {
    const [end, deadline] = [cluster.stepTimes.steps + count, performance.now() + SECONDS * 1000];
    await until(() => !full() || cluster.stepTimes.steps >= end || performance.now() > deadline);
  };
  await steps(WARM_UP_STEPS);
  const [before, cpu, started] = [{ ...cluster.stepTimes }, process.cpuUsage(), performance.now()];
  await steps(STEPS);
  const used = process.cpuUsage(cpu);
  const now = cluster.stepTimes;
  return {
    ms: performance.now() - started,
    steps: now.steps - before.steps,
    tokens: now.rows - before.rows,
    stepMs: now.totalMs - before.totalMs,
    cpuMs: (used.user + used.system) / 1000,
  };
}
