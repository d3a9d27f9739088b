/**
 * What a cluster survives: killed, stalled and useless workers.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { RunningCluster, WorkerStatus } from "../../cluster/cluster.ts";
import { Supervisor } from "../../cluster/fleet/supervisor.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { Cluster, type Config } from "../../mod.ts";
import { until } from "../../bench/support/until.ts";
import { ofSmall, withCluster, withWorkersHere } from "../support/cluster.ts";
import { tested } from "../support/extent.ts";
import { fixtureDirectory } from "../support/checkpoints.ts";
import { whyNotShared } from "../../workers/collective/shared_memory.ts";
import { generate } from "../support/generation.ts";
import { openApp, readEvents } from "../../bench/support/server.ts";

const PROMPT = "And it came to pass in those days";
/** Takes many pieces; each is another, of which nothing is cached yet. */
const longPrompt = (first: number) => Array.from({ length: 300 }, (_, i) => first + i);

/** Blocks of a unit, of 64 tokens. */
const BLOCKS = 32;
const small = (change: Config) => ofSmall({ ...change, cache: { maxTokens: 64 * BLOCKS } });

/** Does something to a worker while the cluster generates. */
async function during(cluster: RunningCluster, unit: string, signal: Deno.Signal, prompt: string | number[] = PROMPT): Promise<WorkerStatus> {
  const victim = (await cluster.status()).find((worker) => worker.unit === unit)!;
  const handedBefore = await handedOver(cluster);
  const tokens: number[] = [];
  const generation = (async () => {
    for await (const piece of cluster.generate({ prompt, maxTokens: 40, ignoreEos: true })) {
      if (typeof prompt === "string" && tokens.length < 20 && tokens.length + piece.tokens.length >= 20) Deno.kill(victim.pid, signal);
      tokens.push(...piece.tokens);
    }
  })();
  if (typeof prompt !== "string") {
    await until(async () => await handedOver(cluster) > handedBefore);
    Deno.kill(victim.pid, signal);
  }
  await generation;
  assertEquals(tokens, await expectedTokens(prompt), `${unit} ${signal}`);
  return victim;
}

async function handedOver(cluster: RunningCluster): Promise<number> {
  return (await cluster.status()).reduce((sum, { stats }) => sum + stats.handoffBytes, 0);
}

/** Processor time of all threads of a process, as Linux counts it, in hundredths of a second. */
async function processorMs(pid: number): Promise<number> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
  // Behind the name in parentheses, which may hold anything, come the state and numbers, of which the twelfth and thirteenth are user's and system's time.
  const [user, system] = stat.slice(stat.lastIndexOf(")") + 2).split(" ").slice(11, 13).map(Number);
  return (user + system) * 10;
}

const known = new Map<string, number[]>();

/** What a cluster to which nothing happens gives. */
async function expectedTokens(prompt: string | number[]): Promise<number[]> {
  const key = JSON.stringify(prompt);
  if (!known.has(key)) {
    await withWorkersHere(
      ofSmall(),
      async (cluster) => void known.set(key, (await generate(cluster, { prompt, maxTokens: 40, ignoreEos: true })).tokens),
    );
  }
  return known.get(key)!;
}

/** The cluster must serve as before, with every block free. */
async function assertServes(cluster: RunningCluster): Promise<WorkerStatus[]> {
  assertEquals((await generate(cluster, { prompt: PROMPT, maxTokens: 40, ignoreEos: true })).tokens, await expectedTokens(PROMPT));
  const status = await cluster.status();
  for (const { unit, stats } of status) assertEquals([stats.sequences, stats.freeBlocks], [0, BLOCKS], unit);
  return status;
}

describe("a cluster", () => {
  for (
    const exchange of tested(
      "ways to exchange",
      ["shared-memory", "websocket"] as const,
      (way) => (way === "shared-memory") === (whyNotShared() === null),
    )
  ) {
    const obstacle = exchange === "shared-memory" ? whyNotShared() : null;
    for (
      const [what, test, missing] of [
        [
          "goes on where it was after a decode rank is killed or stalls, and after a prefill worker dies with a prompt half handed over",
          survives,
          null,
        ],
        [
          "leaves the processor to others while a rank waits for one that stands still",
          waits,
          Deno.build.os === "linux" ? null : "there is no /proc",
        ],
      ] as const
    ) {
      const skipped = obstacle ?? missing;
      if (skipped !== null) it.skip(`${what}; by ${exchange}: skipped, ${skipped}`);
      else it(`${what}; by ${exchange}`, () => test(exchange));
    }
  }

  /** Milliseconds of processor time of one rank, while the other is stopped for as long as its deadline. */
  async function waits(exchange: "shared-memory" | "websocket"): Promise<void> {
    const deadlineMs = 1500;
    await withCluster(small({ decode: { exchange, deadlineMs } }), async (cluster) => {
      const [stopped, waiting] = (await cluster.status()).filter(({ unit }) => unit === "decode-0");
      let tokens = 0;
      let before = Infinity;
      for await (const piece of cluster.generate({ prompt: PROMPT, maxTokens: 40, ignoreEos: true })) {
        if (tokens < 20 && tokens + piece.tokens.length >= 20) {
          Deno.kill(stopped.pid, "SIGSTOP");
          before = await processorMs(waiting.pid);
        }
        tokens += piece.tokens.length;
      }
      assertEquals(tokens, 40);
      assert((await cluster.status()).every(({ pid }) => pid !== stopped.pid), "the other was waited for, and replaced");
      // What it computes before and after is in it, too.
      const used = await processorMs(waiting.pid) - before;
      assert(used < deadlineMs / 2, `${used} ms of processor time while it waited ${deadlineMs}`);
    });
  }

  function survives(exchange: "shared-memory" | "websocket"): Promise<void> {
    return withCluster(small({ decode: { exchange, deadlineMs: 500 }, prefill: { chunk: 16 } }), async (cluster) => {
      const expected = { by: exchange, notShared: null, notThreaded: null };
      assertEquals((await cluster.describe()).units.find(({ role }) => role === "decode")?.exchange, expected);
      const killed = await during(cluster, "decode-0", "SIGKILL");
      let status = await assertServes(cluster);
      assert(status.every(({ worker }) => worker !== killed.worker), "another process took the place");
      assert(status.every(({ unit, epoch }) => unit !== "decode-0" || epoch > killed.epoch), "a new epoch");

      const stalled = await during(cluster, "decode-0", "SIGSTOP");
      status = await assertServes(cluster);
      assert(status.every(({ worker }) => worker !== stalled.worker), "the stalled process was replaced");

      await during(cluster, "prefill-0", "SIGKILL", longPrompt(100));
      await assertServes(cluster);
      assertEquals((await cluster.describe()).units.find(({ role }) => role === "decode")?.exchange, expected);
    });
  }

  it("replaces who stands still while a prompt is computed and handed over, and nobody else", () =>
    withCluster(small({ decode: { deadlineMs: 500, maxBatch: 2 }, prefill: { chunk: 16 } }), async (cluster) => {
      for (const [i, [stopped, other]] of [["decode-0", "prefill-0"], ["prefill-0", "decode-0"]].entries()) {
        const workers = async (unit: string) => (await cluster.status()).filter((worker) => worker.unit === unit).map(({ worker }) => worker);
        const before = await workers(other);
        const stalled = await during(cluster, stopped, "SIGSTOP", longPrompt(100 + i));
        await assertServes(cluster);
        assertEquals(await workers(other), before, `${other} did what it could`);
        assert(!(await workers(stopped)).includes(stalled.worker), `${stalled.worker} was replaced`);
      }
    }));

  it("ends a request that nothing can serve any more with an error event", () =>
    withCluster({}, async (cluster) => {
      const opened = await openApp(cluster.served);
      const response = await opened.app.request("/v1/completions", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ prompt: PROMPT, max_tokens: 1500, ignore_eos: true, stream: true }),
      });
      const events = readEvents(response);
      await until(async () => (await cluster.status()).some(({ stats }) => stats.collectives > 0));
      await cluster.close({ now: true });
      assertEquals((await events).at(-1), "[DONE]");
      const last = JSON.parse((await events).at(-2)!);
      assertEquals([last.error.type, last.error.code], ["server_error", "capacity"]);
      await opened.close();
    }));

  it("says why it cannot start", async () => {
    const broken = await Deno.makeTempDir();
    for (
      const file of ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "basis.safetensors", "model.safetensors"]
    ) {
      await Deno.copyFile(`${fixtureDirectory("tiny-mla")}/${file}`, `${broken}/${file}`);
    }
    const start = (config: Parameters<typeof Cluster.start>[0]) => Cluster.start({ model: broken, device: "cpu", ...config });
    await assertRejects(() => start({ decode: { ranks: 2, latentGroups: 3 } }), LatentmeshError, "does not divide ranks");
    await assertRejects(() => start({ decode: { attention: "mla", latentGroups: 2 } }), LatentmeshError, "keeps whole latents");
    await assertRejects(() => start({ decode: { ranks: 64, latentGroups: 1 } }), LatentmeshError, "only 8 heads");
    await assertRejects(() => start({ cluster: { listen: "0.0.0.0:0" } }), LatentmeshError, "cluster.tls");
    const basis = await Deno.readFile(`${broken}/basis.safetensors`);
    const config = JSON.parse(await Deno.readTextFile(`${broken}/config.json`));
    await Deno.writeTextFile(`${broken}/config.json`, JSON.stringify({ ...config, rms_norm_eps: 1e-5 }));
    await assertRejects(() => start({}), LatentmeshError, "made for another model");
    await Deno.writeFile(`${broken}/basis.safetensors`, basis.subarray(0, 1000));
    await assertRejects(() => start({}), LatentmeshError, "basis.safetensors");
    await Deno.remove(broken, { recursive: true });
  });
});

describe("a supervisor", () => {
  it("gives up loudly after failures in a row", async () => {
    const started: string[] = [];
    const supervisor = new Supervisor("decode-0.0", (worker) => {
      started.push(worker);
      return { ended: Promise.resolve({ code: 1, lastLines: "out of luck" }), kill() {} };
    }, { mostFailures: 3 });
    const error = await assertRejects(() => supervisor.givenUp, LatentmeshError, "out of luck");
    assertEquals(error.code, "worker_lost");
    assertEquals(started, ["decode-0.0/1", "decode-0.0/2", "decode-0.0/3"]);
    await supervisor.stop();
  });

  it("says with which code a worker ended that said nothing, as one does that reads where no memory is", async () => {
    const supervisor = new Supervisor("a", () => ({ ended: Promise.resolve({ code: 139, lastLines: "" }), kill() {} }), { mostFailures: 2 });
    const { message } = await assertRejects(() => supervisor.givenUp, LatentmeshError);
    assertEquals(message, "Worker a ended 2 times in a row, the last time with code 139, and is given up");
    await supervisor.stop();
  });

  it("gives a worker that was ready for long a clean record, and none for the time in which it loaded", async () => {
    for (const [ready, failures] of [[true, 6], [false, 3]] as const) {
      let started = 0;
      const supervisor: Supervisor = new Supervisor("a", () => {
        started++;
        const ended = (async () => {
          await new Promise((resolve) => setTimeout(resolve, 5));
          // From the sixth on, it ends before it is ready.
          if (ready && started < 4) supervisor.ready();
          await new Promise((resolve) => setTimeout(resolve, 20));
          return { code: 1, lastLines: "" };
        })();
        return { ended, kill() {} };
      }, { mostFailures: 3, healthyAfterMs: 10 });
      await assertRejects(() => supervisor.givenUp, LatentmeshError, "ended 3 times in a row");
      assertEquals(started, failures - (ready ? 1 : 0), `ready: ${ready}`);
      await supervisor.stop();
    }
  });

  it("says which GPU does not exist", async () => {
    const options = { model: fixtureDirectory("tiny-mla"), device: "deno" as const, cluster: { hosts: [{ name: "a", gpus: [63] }] } };
    await assertRejects(() => Cluster.start(options), LatentmeshError, "Cannot use GPU 63");
  });

  it("does not try again what this host keeps from starting, unless it has worked before", async () => {
    for (const end of [{ code: 5, lastLines: "no driver" }, { code: 1, lastLines: "Module not found", unloadable: true }]) {
      for (const readyBefore of [false, true]) {
        let started = 0;
        const supervisor: Supervisor = new Supervisor("a", () => {
          started++;
          // As whoever links it tells, which is after it has been started.
          const ended = Promise.resolve().then(() => {
            if (readyBefore) supervisor.ready();
            return end;
          });
          return { ended, kill() {} };
        }, { mostFailures: 2 });
        await assertRejects(() => supervisor.givenUp, LatentmeshError, end.lastLines);
        assertEquals(started, readyBefore ? 2 : 1);
        await supervisor.stop();
      }
    }
  });

  it("does not try again where a worker was refused, and stops when told", async () => {
    const refused = new Supervisor("a", () => ({ ended: Promise.resolve({ code: 3, lastLines: "wrong token" }), kill() {} }));
    assertEquals((await assertRejects(() => refused.givenUp, LatentmeshError, "wrong token")).code, "unauthorized");
    await refused.stop();
    // One that there is no place for now has not failed: it may come as often as it likes.
    let asked = 0;
    const later: Supervisor = new Supervisor(
      "c",
      () => ({ ended: Promise.resolve({ code: ++asked < 3 ? 4 : 3, lastLines: "no place" }), kill() {} }),
      {
        mostFailures: 1,
      },
    );
    await assertRejects(() => later.givenUp, LatentmeshError, "refused");
    assertEquals(asked, 3);
    await later.stop();
    const { promise, resolve } = Promise.withResolvers<{ code: number; lastLines: string }>();
    const running = new Supervisor("b", () => ({ ended: promise, kill: () => resolve({ code: 137, lastLines: "" }) }));
    await running.stop();
  });
});
