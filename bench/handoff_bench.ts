/**
 * What handing a prompt over costs: prompts prefilled with and without it, and how much of the transfer went on behind the computing.
 *
 * @module
 */
import { Cluster, type DeviceChoice } from "../mod.ts";
import type { RunningCluster } from "../cluster/cluster.ts";
import { median, printTable } from "./table.ts";

const model = new URL("../models/tiny-mla", import.meta.url).pathname;
const PROMPT = 2000;
const PROMPTS = 2;

/** Makes every prompt another one: what a unit has computed before it need not compute again. */
let prompts = 0;

/** Prefills prompts; without `maxTokens` nobody needs their latents, so nothing is handed over. */
async function prefill(cluster: RunningCluster, maxTokens: 0 | 1): Promise<number> {
  const started = performance.now();
  for (let done = 0; done < PROMPTS; done++) {
    const first = 100 + prompts++;
    const prompt = Array.from({ length: PROMPT }, (_, t) => t === 0 ? first : 100 + ((t * 7) % 4000));
    for await (const _ of cluster.generate({ prompt, maxTokens }));
  }
  return performance.now() - started;
}

/** Runs the bench. */
export async function handoffBench([runs = "5", device = "cpu"]: readonly string[]): Promise<void> {
  const cluster = await Cluster.start({ model, device: device as DeviceChoice });
  await prefill(cluster, 1);
  const [without, withHandoff]: [number[], number[]] = [[], []];
  const stats = async () => (await cluster.status()).find(({ unit }) => unit.startsWith("prefill"))!.stats;
  const before = await stats();
  // In turn, so that a machine that slows down slows both.
  for (let run = 0; run < Number(runs); run++) {
    without.push(await prefill(cluster, 0));
    withHandoff.push(await prefill(cluster, 1));
  }
  const after = await stats();
  const difference = (key: "handoffBytes" | "handoffFrameBytes" | "handoffBusyMs" | "handoffStallMs") => after[key] - before[key];
  const tokens = Number(runs) * PROMPTS * PROMPT;
  printTable([
    [`${PROMPTS} prompts of ${PROMPT} tokens, ${device} device, 2 decode ranks`, "median"],
    ["prefill without handoff", `${median(without).toFixed(0)} ms`],
    ["prefill with handoff", `${median(withHandoff).toFixed(0)} ms`],
    ["slower by", `${((median(withHandoff) / median(without) - 1) * 100).toFixed(1)} %`],
    ["handed over per prompt token", `${difference("handoffBytes") / tokens} bytes`],
    ["framing", `${((difference("handoffFrameBytes") / difference("handoffBytes") - 1) * 100).toFixed(2)} %`],
    ["time with latents on their way", `${(difference("handoffBusyMs") / Number(runs)).toFixed(0)} ms per run`],
    ["of which prefill stood still", `${(difference("handoffStallMs") / Number(runs)).toFixed(1)} ms per run`],
    ["overlap", `${((1 - difference("handoffStallMs") / difference("handoffBusyMs")) * 100).toFixed(1)} %`],
  ]);
  await cluster.close();
}
