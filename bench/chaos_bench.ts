/**
 * Load of every sort on a server to which everything happens: workers that are killed or stopped, devices that fail, a coordinator that stands still, clients that
 * leave or read slowly, disks that are full, and a time of day that jumps. Every answer is the one that the request gets in peace, or an explicit error; and at the end nothing is left of any of it.
 *
 * @module
 */
import { parseArgs } from "node:util";
import type { Config } from "../mod.ts";
import { ROOT } from "./support/root.ts";
import { runs } from "./support/processes.ts";
import { Random } from "./support/random.ts";
import { clusterOf, type Holdings, holdingsOf, leftOver } from "./chaos/accounts.ts";
import { Faults } from "./chaos/faults.ts";
import { ask, type ChaosRequest, type Manner, requestKinds } from "./chaos/requests.ts";
import { linesOf } from "./lines.ts";
import { printTable } from "./table.ts";

/** Flags, for `--help`. */
export const CHAOS_HELP =
  "[--minutes 2] [--seed 1] [--clients 12] [--ranks 2] [--groups 1] [--mixed N] [--exchange auto|shared-memory|websocket] [--device wasm|cpu] load of every sort while workers are killed, stopped and fail: every answer right or an explicit error, nothing left at the end";

/** Kinds of requests. */
const KINDS = 36;
/** Milliseconds without an end after which a request hangs. */
const HANGS = 180_000;
/** Files and megabytes that a server may hold more at the end than after it had served every kind once. */
const MORE_FILES = 12;
const MORE_MEGABYTES = 150;

const PEACE: Manner = { stream: true, leavesAfter: null, slowness: 0 };

/** Runs the bench; ends the process with 1 if something was found. */
export async function chaosBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: "string", default: "2" },
      seed: { type: "string", default: "1" },
      clients: { type: "string", default: "12" },
      ranks: { type: "string", default: "2" },
      groups: { type: "string", default: "1" },
      mixed: { type: "string" },
      exchange: { type: "string", default: "auto" },
      device: { type: "string", default: "wasm" },
    },
  });
  const { exchange } = values;
  if (exchange !== "auto" && exchange !== "shared-memory" && exchange !== "websocket") {
    throw new Error(`--exchange ${exchange}: auto, shared-memory or websocket`);
  }
  const units: ChaosUnits = values.mixed === undefined
    ? { decode: { ranks: Number(values.ranks), groups: Number(values.groups), exchange, maxBatch: 16 } }
    : { mixed: { workers: Number(values.mixed) }, decode: { maxBatch: 16 } };
  const server = await ChaosServer.start(values.device === "cpu" ? "cpu" : "wasm", units);
  const random = new Random(Number(values.seed));
  const run = new ChaosRun(server, requestKinds(random, KINDS), random);
  try {
    const what = values.mixed === undefined ? `${values.groups} × ${values.ranks} ranks` : `${values.mixed} mixed workers`;
    console.error(`a server of ${what}; asking ${KINDS} kinds of requests in peace …`);
    await run.learn();
    const begin = await holdingsOf(server.pid);
    await run.storm(Number(values.minutes) * 60_000, Number(values.clients));
    if (!server.ended) await run.afterwards(begin);
  } finally {
    await run.close();
  }
  printTable([[`${values.minutes} minutes, ${values.clients} clients, seed ${values.seed}`, ""], ...run.rows]);
  for (const finding of run.findings) console.log(`found: ${finding}`);
  if (run.findings.length > 0) Deno.exit(1);
}

/** What a server is made of. */
type ChaosUnits = Pick<Config, "decode" | "mixed">;

/** A server in a process of its own. */
class ChaosServer {
  readonly url: string;
  readonly pid: number;
  ended = false;
  readonly #child: Deno.ChildProcess;
  readonly #disks: readonly string[];
  readonly #log: readonly string[];

  private constructor(child: Deno.ChildProcess, disks: readonly string[], url: string, log: readonly string[]) {
    this.#child = child;
    void child.status.then(() => this.ended = true);
    this.#disks = disks;
    this.pid = child.pid;
    this.url = url;
    this.#log = log;
  }

  static async start(device: "wasm" | "cpu", units: ChaosUnits) {
    const config = {
      model: `${ROOT}/models/tiny-mla`,
      device,
      server: { port: 0 },
      ...units,
      cache: { maxTokens: 4096 },
      prefill: { chunk: 48 },
    };
    const script = new URL("./chaos/server.ts", import.meta.url).pathname;
    const lock = new URL("../tests/deno.lock", import.meta.url).pathname;
    const temporary = await Deno.makeTempDir({ prefix: "latentmesh-chaos-" });
    const disks = [temporary, "/dev/shm"];
    const [command, ...args] = onSmallDisks(disks, [Deno.execPath(), "run", "-A", "--quiet", `--lock=${lock}`, script, JSON.stringify(config)]);
    const child = new Deno.Command(command, {
      args,
      env: { TMPDIR: temporary },
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const log: string[] = [];
    const ready = Promise.withResolvers<string>();
    void (async () => {
      for await (const line of linesOf(child.stderr)) {
        log.push(line);
        if (log.length > 200) log.shift();
        const url = /ready\s+(http:\S+)/.exec(line)?.[1];
        if (url !== undefined) ready.resolve(url);
      }
      ready.reject(new Error(`The server ended before it was ready:\n${log.join("\n")}`));
    })();
    return new ChaosServer(child, disks, await ready.promise, log);
  }

  /** Those that only it writes to. */
  get disks(): readonly string[] {
    return OWN_DISKS ? this.#disks.map((disk) => `/proc/${this.pid}/root${disk}`) : [];
  }

  /** The last it said. */
  get log(): string {
    return this.#log.slice(-30).join("\n");
  }

  /** Stops it as users do. @returns its exit code */
  async stop(): Promise<number> {
    try {
      this.#child.kill("SIGTERM");
    } catch {
      // It has ended.
    }
    const { code } = await this.#child.status;
    await Deno.remove(this.#disks[0], { recursive: true });
    return code;
  }
}

/** Whether this process may give another one disks of its own. */
const OWN_DISKS = Deno.build.os === "linux" && Deno.uid() === 0;

/** The command, with small disks instead of these where that is possible. */
function onSmallDisks(disks: readonly string[], command: readonly string[]): readonly string[] {
  if (!OWN_DISKS) return command;
  const mounts = disks.map((disk) => `mount -t tmpfs -o size=16m tmpfs ${disk}`).join(" && ");
  return ["unshare", "--mount", "sh", "-c", `${mounts} && exec "$@"`, "sh", ...command];
}

/** One storm and what came of it. */
class ChaosRun {
  readonly rows: string[][] = [];
  readonly findings: string[] = [];
  readonly #server: ChaosServer;
  readonly #kinds: readonly ChaosRequest[];
  readonly #random: Random;
  readonly #known = new Map<ChaosRequest, string>();

  constructor(server: ChaosServer, kinds: readonly ChaosRequest[], random: Random) {
    this.#server = server;
    this.#kinds = kinds;
    this.#random = random;
  }

  /** Asks every kind in peace. */
  async learn(): Promise<void> {
    for (const kind of this.#kinds) {
      const outcome = await ask(this.#server.url, kind, PEACE);
      if (outcome.kind !== "answered") throw new Error(`In peace, ${JSON.stringify(kind.body).slice(0, 200)} gives ${JSON.stringify(outcome)}`);
      this.#known.set(kind, outcome.answer);
    }
  }

  /** Lets clients and faults loose. */
  async storm(ms: number, clients: number): Promise<void> {
    const { url, pid } = this.#server;
    const end = performance.now() + ms;
    const ending = () => this.#server.ended || performance.now() > end;
    const counts = { answered: 0, left: 0, refused: 0, wrong: 0, hung: 0 };
    const errors = new Map<string, number>();
    const faults = new Faults(url, pid, this.#server.disks, this.#random);
    const client = async () => {
      while (!ending()) {
        const kind = this.#kinds[this.#random.below(KINDS)];
        const outcome = await within(HANGS, ask(url, kind, this.#manner()));
        if (outcome === null) {
          counts.hung++;
          this.findings.push(
            `a request hangs: ${JSON.stringify(kind.body).slice(0, 200)}; ${JSON.stringify(await clusterOf(url).catch(String)).slice(0, 600)}`,
          );
          continue;
        }
        counts[outcome.kind]++;
        if (outcome.kind === "answered" && outcome.answer !== this.#known.get(kind)) {
          counts.wrong++;
          this.findings.push(
            `a wrong answer to ${JSON.stringify(kind.body).slice(0, 200)}: ${outcome.answer.slice(0, 200)} instead of ${
              this.#known.get(kind)!.slice(0, 200)
            }`,
          );
        }
        if (outcome.kind === "refused") {
          const reason = outcome.error.replace(/\d+/g, "N").slice(0, 140);
          errors.set(reason, (errors.get(reason) ?? 0) + 1);
          await sleep(200);
        }
      }
    };
    const started = performance.now();
    const progress = setInterval(() => {
      const minutes = ((performance.now() - started) / 60_000).toFixed(0);
      console.error(`${minutes} min: ${JSON.stringify(counts)}; ${JSON.stringify(faults.counts)}; ${this.findings.length} findings`);
    }, 60_000);
    await Promise.all([faults.run(ending, () => counts.answered), ...Array.from({ length: clients }, client)]);
    clearInterval(progress);
    if (this.#server.ended) this.findings.push(`the server ended\n${this.#server.log}`);
    this.rows.push(
      ["requests", `${counts.answered} answered, ${counts.left} left by their clients, ${counts.refused} refused with an explicit error`],
      ["  wrong, hung", `${counts.wrong}, ${counts.hung}`],
      ["faults", Object.entries(faults.counts).map(([what, count]) => `${count} ${what}`).join(", ")],
      ...[...errors].sort((a, b) => b[1] - a[1]).slice(0, 6).map(([reason, count]) => [`  ${count} ×`, reason]),
    );
  }

  /** Nothing is left, and everything is as it was. */
  async afterwards(begin: Holdings): Promise<void> {
    const { url, pid } = this.#server;
    let left: string | null = "not looked";
    for (let tries = 0; left !== null && tries < 120; tries++) {
      await sleep(500);
      left = await clusterOf(url).then(leftOver, String);
    }
    if (left !== null) this.findings.push(`a minute after the storm, ${left}\n${this.#server.log}`);
    let same = 0;
    for (const kind of this.#kinds) {
      const outcome = await within(HANGS, ask(url, kind, PEACE));
      if (outcome?.kind === "answered" && outcome.answer === this.#known.get(kind)) same++;
      else this.findings.push(`after the storm, ${JSON.stringify(kind.body).slice(0, 200)} gives ${JSON.stringify(outcome)?.slice(0, 300)}`);
    }
    const metrics = await (await fetch(`${url}/metrics`)).text();
    const uncaught = Number(/latentmesh_uncaught_errors_total (\d+)/.exec(metrics)?.[1]);
    if (uncaught !== 0) this.findings.push(`${uncaught} errors were taken care of by nobody\n${this.#server.log}`);
    await sleep(2000);
    const end = await holdingsOf(pid);
    if (end.files > begin.files + MORE_FILES) this.findings.push(`${end.files} files are open, ${begin.files} were`);
    if (end.processes > begin.processes) this.findings.push(`there are ${end.processes} processes, ${begin.processes} were`);
    if (end.megabytes > begin.megabytes + MORE_MEGABYTES) {
      this.findings.push(`the coordinator has ${end.megabytes.toFixed(0)} MB, it had ${begin.megabytes.toFixed(0)}`);
    }
    this.rows.push(
      ["afterwards", `${same} of ${KINDS} kinds answered as before, ${left === null ? "every block free" : left}, ${uncaught} uncaught errors`],
      [
        "  files, processes, MB of the coordinator",
        `${begin.files} → ${end.files}, ${begin.processes} → ${end.processes}, ${begin.megabytes.toFixed(0)} → ${end.megabytes.toFixed(0)}`,
      ],
    );
  }

  /** Stops the server; it ends, and whatever it has started. */
  async close(): Promise<void> {
    if (this.#server.ended) return void await this.#server.stop();
    const { pids } = await pidsOf(this.#server.url);
    const code = await this.#server.stop();
    await sleep(1000);
    const alive = (await Promise.all(pids.map(runs))).filter((one) => one).length;
    if (code !== 0 || alive > 0) {
      this.findings.push(`the server ended with code ${code}, and ${alive} of its workers were still there\n${this.#server.log}`);
    }
    this.rows.push(["stopped", `code ${code}, ${alive} workers left`]);
  }

  /** Most clients stay and read; some leave, some are slow, some wait for the whole. */
  #manner(): Manner {
    const dice = this.#random.below(10);
    return {
      stream: dice < 7,
      leavesAfter: dice < 2 ? 1 + this.#random.below(10) : null,
      slowness: dice === 2 ? 20 + this.#random.below(100) : 0,
    };
  }
}

async function pidsOf(url: string): Promise<{ readonly pids: number[] }> {
  const status = await clusterOf(url).catch(() => null);
  return { pids: status?.units.flatMap(({ workers }) => workers.flatMap(({ pid }) => pid === null ? [] : [pid])) ?? [] };
}

async function within<T>(ms: number, what: Promise<T>): Promise<T | null> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    return await Promise.race([what, new Promise<null>((resolve) => timer = setTimeout(() => resolve(null), ms))]);
  } finally {
    clearTimeout(timer);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
