/**
 * The server as users start it, with its workers, and what it says of itself.
 *
 * @module
 */
import type { StepParts, StepTimes } from "../../core/step_times.ts";
import type { ClusterStatus, Config } from "../../mod.ts";
import { taskCommand } from "../support/process.ts";
import { linesOf } from "../lines.ts";

/** Lines of its log that are kept. */
const LAST_LINES = 20;
/** Milliseconds that it gets to say what it is at, and to stop. */
const PATIENCE = 3000;

/** Totals of one worker. */
export interface RankTotals {
  readonly name: string;
  readonly parts: StepParts;
  /** Sums so far. */
  readonly sums: number;
}

/** Running totals. */
export interface ServerTotals {
  readonly steps: StepTimes;
  readonly prefill: readonly RankTotals[];
  readonly decode: readonly RankTotals[];
  /** Prompt tokens that were cached. */
  readonly cachedTokens: number;
  /** Steps and prefill chunks of all workers: it goes up where something is computed. */
  readonly work: number;
}

/** A running server. */
export class BenchServer implements AsyncDisposable {
  readonly url: string;
  /** From its start to the first request that it could have served. */
  readonly readySeconds: number;
  readonly #child: Deno.ChildProcess;
  readonly #lines: readonly string[];
  readonly #config: string;
  /** Worker processes that it told of the last time. */
  #pids: readonly number[] = [];
  #ended: Promise<void> | null = null;

  private constructor(
    child: Deno.ChildProcess,
    config: string,
    lines: readonly string[],
    started: { readonly url: string; readonly seconds: number },
  ) {
    this.#child = child;
    this.#config = config;
    this.#lines = lines;
    this.url = started.url;
    this.readySeconds = started.seconds;
  }

  /** Starts it and waits until it can serve. @throws {Error} with its last lines if it ends before */
  static async start(
    config: Config,
    { single, deviceTimes, signal }: { readonly single: boolean; readonly deviceTimes: boolean; readonly signal: AbortSignal },
  ) {
    signal.throwIfAborted();
    const file = await Deno.makeTempFile({ prefix: "bench-whole-", suffix: ".json" });
    await Deno.writeTextFile(file, JSON.stringify(config));
    const began = performance.now();
    const args = ["serve", "--config", file, ...(single ? ["--single"] : [])];
    const child = taskCommand(args, deviceTimes ? { LATENTMESH_DEVICE_TIMES: "1" } : {}).spawn();
    const kill = () => child.kill("SIGKILL");
    signal.addEventListener("abort", kill, { once: true });
    void child.stdout.cancel();
    const lines: string[] = [];
    const ready = Promise.withResolvers<string>();
    const reading = (async () => {
      for await (const line of linesOf(child.stderr)) {
        lines.push(line);
        if (lines.length > LAST_LINES) lines.shift();
        const url = /ready\s+(http:\S+)/.exec(line)?.[1];
        if (url !== undefined) ready.resolve(url);
      }
    })();
    try {
      const url = await Promise.race([ready.promise, Promise.all([child.status, reading]).then(() => null)]);
      if (url === null) throw new Error(`The server ended before it was ready:\n${lines.join("\n")}`);
      return new BenchServer(child, file, lines, { url, seconds: (performance.now() - began) / 1000 });
    } catch (error) {
      await Deno.remove(file);
      throw error;
    } finally {
      signal.removeEventListener("abort", kill);
    }
  }

  /** The last lines of its log. */
  get log(): readonly string[] {
    return this.#lines;
  }

  /** What it is at; null if it does not answer. */
  async status(): Promise<ClusterStatus | null> {
    try {
      const response = await fetch(`${this.url}/cluster`, { signal: AbortSignal.timeout(PATIENCE) });
      const status: ClusterStatus = await response.json();
      this.#pids = status.units.flatMap(({ workers }) => workers.flatMap(({ pid }) => pid ?? []));
      return status;
    } catch {
      return null;
    }
  }

  /** What it has counted; null if it, or a worker, does not answer. */
  async totals(): Promise<ServerTotals | null> {
    const status = await this.status();
    if (status === null) return null;
    const { steps, units, scheduling: { cachedTokens } } = status;
    if (units.some(({ workers }) => workers.some(({ stats }) => stats === null))) return null;
    const ranksOf = (role: "prefill" | "decode"): RankTotals[] =>
      units.filter((unit) => unit.role === role || unit.role === "mixed").flatMap(({ name, workers }) =>
        workers.map(({ rank, stats }) => ({ name: `${name}.${rank}`, parts: stats!.parts[role], sums: stats!.collectives }))
      );
    const [prefill, decode] = [ranksOf("prefill"), ranksOf("decode")];
    return { steps, prefill, decode, cachedTokens, work: [...prefill, ...decode].reduce((sum, { parts }) => sum + parts.steps, 0) };
  }

  /** Ends it and its workers, whatever state they are in. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#ended ??= this.#end();
  }

  async #end(): Promise<void> {
    await this.status();
    this.#kill("SIGTERM");
    const timer = setTimeout(() => this.#kill("SIGKILL"), PATIENCE);
    await this.#child.status;
    clearTimeout(timer);
    // Workers end with their coordinator, but for one that is stuck.
    for (const pid of this.#pids) killWorker(pid);
    await Deno.remove(this.#config);
  }

  /** Ends it at once: somebody wants to leave. */
  kill(): void {
    this.#kill("SIGKILL");
    for (const pid of this.#pids) killWorker(pid);
  }

  #kill(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch {
      // It has ended by itself.
    }
  }
}

/** Ends a process if it is a worker: its number may be another's by now. */
function killWorker(pid: number): void {
  try {
    if (Deno.readTextFileSync(`/proc/${pid}/cmdline`).includes("/workers/process/main.ts")) Deno.kill(pid, "SIGKILL");
  } catch {
    // It has ended by itself.
  }
}
