/**
 * What serving many must survive, at full size: 256 streams at once, clients that disconnect, workers that are killed, over HTTP and with every answer
 * compared with what the request gets alone. CI runs smaller versions (tests/cluster).
 *
 * @module
 */
import { abortableFetch } from "../core/net/abortable_fetch.ts";
import { Cluster, type Config } from "../mod.ts";
import type { RunningCluster } from "../cluster/cluster.ts";
import { Random } from "./support/random.ts";
import { serveModel } from "./support/server.ts";
import { median, printTable } from "./table.ts";

const model = new URL("../models/tiny-mla", import.meta.url).pathname;

interface Ask {
  readonly prompt: readonly number[];
  readonly max_tokens: number;
}

interface Answer {
  readonly tokens: readonly number[];
  readonly firstMs: number;
  readonly error: string | null;
}

/** A cluster behind HTTP. */
class Served {
  readonly cluster: RunningCluster;
  readonly #server: Awaited<ReturnType<typeof serveModel>>;
  readonly #known = new Map<string, readonly number[]>();

  private constructor(cluster: RunningCluster, server: Awaited<ReturnType<typeof serveModel>>) {
    this.cluster = cluster;
    this.#server = server;
  }

  static async start(config: Config): Promise<Served> {
    const cluster = await Cluster.start({ model, device: "cpu", ...config });
    return new Served(cluster, await serveModel(cluster.served));
  }

  /** Streams one request. @param leaveAfter events after which the client goes away */
  async ask(request: Ask, leaveAfter = Infinity): Promise<Answer> {
    const started = performance.now();
    const tokens: number[] = [];
    let firstMs = 0;
    const leave = new AbortController();
    try {
      const response = await abortableFetch(`${this.#server.url}/v1/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ ...request, temperature: 0, ignore_eos: true, stream: true, return_token_ids: true }),
        signal: leave.signal,
      });
      if (!response.ok) return { tokens, firstMs, error: `${response.status} ${await response.text()}` };
      let held = "";
      for await (const text of response.body!.pipeThrough(new TextDecoderStream())) {
        held += text;
        const events = held.split("\n\n");
        held = events.pop()!;
        for (const event of events) {
          const data = event.slice("data: ".length);
          if (data === "[DONE]") return { tokens, firstMs, error: null };
          const parsed = JSON.parse(data);
          if (parsed.error) return { tokens, firstMs, error: parsed.error.message };
          tokens.push(...parsed.choices[0].token_ids);
          if (firstMs === 0) firstMs = performance.now() - started;
          if (--leaveAfter === 0) leave.abort();
        }
      }
      return { tokens, firstMs, error: "the stream ended without [DONE]" };
    } catch (error) {
      return { tokens, firstMs, error: leave.signal.aborted ? null : String(error) };
    }
  }

  /** What a request gets alone. */
  async alone(request: Ask): Promise<readonly number[]> {
    const key = JSON.stringify(request);
    if (!this.#known.has(key)) this.#known.set(key, (await this.ask(request)).tokens);
    return this.#known.get(key)!;
  }

  /** Waits until nothing runs, then says whether every block is free. */
  async allFree(): Promise<boolean> {
    for (let tries = 0; tries < 200; tries++) {
      const status = await this.cluster.status().catch(() => []);
      const { active } = this.cluster.scheduling;
      if (active === 0 && status.length > 0 && status.every(({ stats }) => stats.sequences === 0)) {
        this.cluster.checkIntegrity();
        return status.filter(({ unit }) => !unit.startsWith("prefill")).every(({ stats }) => stats.freeBlocks === status[0].stats.freeBlocks);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return false;
  }

  async close(): Promise<void> {
    await this.#server.close();
    await this.cluster.close();
  }
}

/** @param variety distinct requests, so that answers alone need not be computed for every one */
function asks(count: number, random: Random, variety: number): Ask[] {
  const kinds = Array.from({ length: variety }, (_, kind) => ({
    prompt: Array.from({ length: 4 + random.below(60) }, (_, i) => 100 + kind * 7 + i),
    max_tokens: 4 + random.below(28),
  }));
  return Array.from({ length: count }, () => kinds[random.below(variety)]);
}

async function countWrong(served: Served, requests: readonly Ask[], answers: readonly Answer[]): Promise<number> {
  let wrong = 0;
  for (const [i, request] of requests.entries()) {
    if (answers[i].error === null && answers[i].tokens.join() !== (await served.alone(request)).join()) wrong++;
  }
  return wrong;
}

async function manyStreams(served: Served, count: number): Promise<string[][]> {
  const requests = asks(count, new Random(1), 48);
  const started = performance.now();
  const answers = await Promise.all(requests.map((request) => served.ask(request)));
  const seconds = (performance.now() - started) / 1000;
  const failed = answers.filter(({ error }) => error !== null).length;
  return [
    [`${count} streams at once`, `${count - failed} complete in ${seconds.toFixed(1)} s`],
    ["  differing from their solo output", String(await countWrong(served, requests, answers))],
    ["  all blocks free", String(await served.allFree())],
  ];
}

async function disconnects(served: Served, count: number): Promise<string[][]> {
  const random = new Random(2);
  const staying = asks(16, random, 8);
  const stay = Promise.all(staying.map((request) => served.ask(request)));
  const before = served.cluster.stepTimes.rows;
  const leaving = asks(count, random, 40).map((request) => ({ ...request, max_tokens: 400 }));
  const left = await Promise.all(leaving.map((request) => served.ask(request, 1 + random.below(6))));
  const answers = await stay;
  const free = await served.allFree();
  const wanted = [...left, ...answers].reduce((sum, { tokens }) => sum + tokens.length, 0);
  return [
    [
      `${count} clients disconnect`,
      `${served.cluster.stepTimes.rows - before} rows computed for ${wanted} tokens that were read; unstopped ${count * 400}`,
    ],
    ["  others differing from their solo output", String(await countWrong(served, staying, answers))],
    ["  all blocks free", String(free)],
  ];
}

async function kills(served: Served, count: number, streams: number): Promise<string[][]> {
  const random = new Random(3);
  let [complete, wrong, explicit, hung] = [0, 0, 0, 0];
  const pauses: number[] = [];
  let free = true;
  for (let kill = 0; kill < count; kill++) {
    const requests = asks(streams, random, 24);
    const running = Promise.all(requests.map((request) => served.ask(request)));
    await new Promise((resolve) => setTimeout(resolve, 100 + random.below(4000)));
    const workers = await served.cluster.status().catch(() => []);
    if (workers.length > 0) Deno.kill(workers[random.below(workers.length)].pid, "SIGKILL");
    const started = performance.now();
    const timer = Promise.withResolvers<null>();
    const timeout = setTimeout(() => timer.resolve(null), 120_000);
    const answers = await Promise.race([running, timer.promise]);
    clearTimeout(timeout);
    pauses.push(performance.now() - started);
    if (answers === null) {
      hung++;
      continue;
    }
    complete += answers.filter(({ error }) => error === null).length;
    explicit += answers.filter(({ error }) => error !== null).length;
    wrong += await countWrong(served, requests, answers);
    free &&= await served.allFree();
  }
  return [
    [
      `a worker killed ${count} times under ${streams} streams`,
      `${complete} of ${count * streams} complete, ${explicit} with an explicit error, ${hung} hung`,
    ],
    ["  differing from their solo output", String(wrong)],
    ["  all blocks free afterwards, each time", String(free)],
    ["  from the kill to the last answer", `median ${(median(pauses) / 1000).toFixed(1)} s, most ${(Math.max(...pauses) / 1000).toFixed(1)} s`],
    ["  replays and preemptions", `${served.cluster.scheduling.replays}, ${served.cluster.scheduling.preemptions}`],
  ];
}

async function prefix(served: Served): Promise<string[][]> {
  const cold: number[] = [];
  const warm: number[] = [];
  const cached: number[] = [];
  for (let run = 0; run < 3; run++) {
    const begin = Array.from({ length: 1500 }, (_, i) => 100 + ((i * 7 + run * 131) % 4000));
    cold.push((await served.ask({ prompt: [...begin, 5, 6, 7, 8], max_tokens: 1 })).firstMs);
    const before = served.cluster.scheduling;
    warm.push((await served.ask({ prompt: [...begin, 9, 10, 11, 12], max_tokens: 1 })).firstMs);
    const after = served.cluster.scheduling;
    cached.push((after.cachedTokens - before.cachedTokens) / (after.promptTokens - before.promptTokens));
  }
  return [
    ["1500 tokens of prefix, cold", `first token after ${median(cold).toFixed(0)} ms`],
    ["  the second time", `${median(warm).toFixed(0)} ms, ${(median(warm) / median(cold) * 100).toFixed(1)} %`],
    ["  of its prompt tokens cached", `${(median(cached) * 100).toFixed(1)} %`],
  ];
}

/** Runs the bench. */
export async function soakBench([kill = "20", streams = "64", units = "ranks=2"]: readonly string[]): Promise<void> {
  const chosen: Record<string, Config> = {
    "ranks=2": { decode: { ranks: 2 } },
    mixed: { mixed: { workers: 1 } },
    "mixed,mixed": { mixed: { workers: 2 } },
  };
  const config = chosen[units];
  if (config === undefined) throw new Error(`"${units}" are no units; there are ${Object.keys(chosen).join(", ")}`);
  const rows: string[][] = [[`embedded model, cpu, ${units}`, ""]];
  const section = async (run: (served: Served) => Promise<string[][]>) => {
    const served = await Served.start(config);
    rows.push(...await run(served));
    await served.close();
  };
  await section(prefix);
  await section((served) => manyStreams(served, 256));
  await section((served) => disconnects(served, 200));
  await section((served) => kills(served, Number(kill), Number(streams)));
  printTable(rows);
}
