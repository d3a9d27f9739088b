/**
 * What handing a prompt over costs: the time to the first token of a cluster beside that of one process, the time to the second, for which decode ranks must have
 * their share, and how much of the transfer went on behind the computing.
 *
 * @module
 */
import { Cluster, type DeviceChoice, Engine } from "../mod.ts";
import type { RunningCluster } from "../cluster/cluster.ts";
import { median, printTable } from "./table.ts";

/** Makes every prompt another one: what has been computed before need not be computed again. */
let prompts = 0;

/** When the tokens of a prompt came, in milliseconds. */
interface Arrivals {
  readonly first: number[];
  readonly second: number[];
}

/** Runs the bench. */
export async function handoffBench(
  [runs = "5", choice = "cpu", named, length = "2000", gpus]: readonly string[],
): Promise<void> {
  const [device, tokens] = [choice as DeviceChoice, Number(length)];
  const model = named ?? new URL("../models/tiny-mla", import.meta.url).pathname;
  const engine = await Engine.load({ model, device, speculate: "off", dawn: Deno.env.get("LATENTMESH_DAWN") });
  const single = await arrivals(engine, Number(runs), tokens);
  await engine.close();

  const hosts = gpus === undefined ? undefined : [{ name: "here", gpus: gpus.split(",").map(Number) }];
  const cluster = await Cluster.start({ model, device, decode: { speculate: "off" }, cluster: { hosts } });
  const stats = async () => (await cluster.status()).find(({ unit }) => unit.startsWith("prefill"))!.stats;
  await arrivals(cluster, 1, tokens);
  const before = await stats();
  const ofCluster = await arrivals(cluster, Number(runs), tokens, 0);
  const after = await stats();
  const unanswered: number[] = [];
  for (let run = 0; run < Number(runs); run++) unanswered.push(await computeOnly(cluster, tokens));
  const difference = (key: "handoffBytes" | "handoffFrameBytes" | "handoffBusyMs" | "handoffStallMs") => after[key] - before[key];
  const ms = (times: readonly number[]) => `${median(times).toFixed(1)} ms`;
  printTable([
    [`prompts of ${tokens} tokens, ${device} device, 2 decode ranks`, "median"],
    ["one process: first token", ms(single.first)],
    ["one process: second token", ms(single.second)],
    ["cluster: first token", ms(ofCluster.first)],
    ["cluster: second token", ms(ofCluster.second)],
    ["cluster: prompt computed, and handed to nobody", ms(unanswered)],
    ["first token, of one process's", `${(median(ofCluster.first) / median(single.first)).toFixed(2)} times`],
    ["handed over per prompt token", `${difference("handoffBytes") / tokens / Number(runs)} bytes`],
    ["framing", `${((difference("handoffFrameBytes") / difference("handoffBytes") - 1) * 100).toFixed(2)} %`],
    ["time with latents on their way", `${(difference("handoffBusyMs") / Number(runs)).toFixed(1)} ms per prompt`],
    ["of which prefill stood still", `${(difference("handoffStallMs") / Number(runs)).toFixed(1)} ms per prompt`],
    ["overlap", `${((1 - difference("handoffStallMs") / difference("handoffBusyMs")) * 100).toFixed(1)} %`],
  ]);
  await cluster.close();
}

function nextPrompt(tokens: number): number[] {
  const first = 100 + prompts++;
  return Array.from({ length: tokens }, (_, t) => t === 0 ? first : 100 + ((t * 7) % 4000));
}

/** Two tokens of every prompt. @param warm prompts that are not counted: drivers prepare kernels in the first */
async function arrivals(engine: Pick<RunningCluster, "generate">, runs: number, tokens: number, warm = 2): Promise<Arrivals> {
  const times: Arrivals = { first: [], second: [] };
  for (let run = -warm; run < runs; run++) {
    const began = performance.now();
    const came: number[] = [];
    for await (const { tokens: { length } } of engine.generate({ prompt: nextPrompt(tokens), maxTokens: 2, ignoreEos: true })) {
      for (let i = 0; i < length; i++) came.push(performance.now() - began);
    }
    if (run < 0) continue;
    times.first.push(came[0]);
    times.second.push(came[1]);
  }
  return times;
}

/** Without tokens to generate, nobody needs latents. */
async function computeOnly(engine: Pick<RunningCluster, "generate">, tokens: number): Promise<number> {
  const began = performance.now();
  for await (const _ of engine.generate({ prompt: nextPrompt(tokens), maxTokens: 0 }));
  return performance.now() - began;
}
