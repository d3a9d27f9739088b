/**
 * The whole product as its users see it: the real server, with its workers, under streaming clients. Time to first token, steps, and where a step's time goes, beside
 * what it would take at the least.
 *
 * @module
 */
import { isHostChoice } from "../core/device_kind.ts";
import { measureBareSums } from "./collective_bench.ts";
import { keeper } from "./source.ts";
import { driveCase, wake, warmUp } from "./whole/drive.ts";
import { Floor } from "./whole/floor.ts";
import { type Case, nameOf, parseOptions, type Run, type WholeOptions } from "./whole/options.ts";
import { printRun, runName } from "./whole/print.ts";
import { type Card, measureReads } from "./whole/reads.ts";
import type { CaseResult, RunResult, StepFloor, StepShare, WholeResult } from "./whole/result.ts";
import { BenchServer } from "./whole/server.ts";
import { configFor, mostGenerated } from "./whole/sizing.ts";
import { HangError } from "./whole/watch.ts";

/** Runs the bench. */
export async function wholeBench(args: readonly string[]): Promise<void> {
  const options = parseOptions(args);
  const keep = keeper("whole", args, options);
  const { model, weights, tokens } = options;
  console.log(`${model}, weights ${weights}, ${tokens} tokens of each stream`);
  const runs: RunResult[] = [];
  using stop = new Stop();
  const planned = options.runs.map((run) => [run, new WholeRun(options, run, stop)] as const);
  for (const [, run] of planned) await run.check();
  for (const [run, measured] of planned) {
    console.log(`\n${runName(run)} …`);
    runs.push(await measured.measure());
    printRun(runs.at(-1)!);
    // What was measured is kept even if the next server cannot be started.
    await keep({ model, weights, tokens, runs } satisfies WholeResult);
  }
  if (runs.some(({ cases }) => cases.some(({ error }) => error !== null))) throw new Error("Some cases failed; see above");
}

/** Ends everything that was started when somebody wants to leave. */
class Stop implements Disposable {
  readonly #controller = new AbortController();
  server: BenchServer | null = null;

  constructor() {
    for (const signal of SIGNALS) Deno.addSignalListener(signal, this.#leave);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  [Symbol.dispose](): void {
    // Somebody is about to leave.
    if (this.signal.aborted) return;
    for (const signal of SIGNALS) Deno.removeSignalListener(signal, this.#leave);
  }

  /** The first time it is let clean up, which takes some seconds at most. */
  readonly #leave = () => {
    if (this.signal.aborted) {
      this.server?.kill();
      Deno.exit(130);
    }
    this.#controller.abort();
    void Promise.resolve(this.server?.[Symbol.asyncDispose]()).finally(() => Deno.exit(130));
  };
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** One server's cases. */
class WholeRun {
  readonly #options: WholeOptions;
  readonly #run: Run;
  readonly #stop: Stop;
  readonly #floors = new Map<string, Floor>();
  #about: Pick<RunResult, "description" | "summary" | "exchange" | "readySeconds"> = {
    description: "",
    summary: "",
    exchange: null,
    readySeconds: 0,
  };

  constructor(options: WholeOptions, run: Run, stop: Stop) {
    this.#options = options;
    this.#run = run;
    this.#stop = stop;
  }

  /** @throws {Error} if the model cannot have a case */
  async check(): Promise<void> {
    const { spec } = await this.#floorOf("sharded");
    for (const one of this.#options.cases) {
      const needed = one.context + mostGenerated(one, this.#options);
      if (needed > spec.maxPositions) throw new Error(`${nameOf(one)} needs ${needed} positions, the model has ${spec.maxPositions}`);
    }
  }

  async measure(): Promise<RunResult> {
    const { cases, gpus } = this.#options;
    const { spec, cachedBytesPerToken } = await this.#floorOf("sharded");
    const card = await measureReads(this.#run.device, gpus?.[0] ?? null, this.#stop.signal);
    const sums = await this.#bareSums(spec.hiddenSize);
    const results: CaseResult[] = [];
    while (results.length < cases.length) await this.#serve(cases.slice(results.length), (result) => results.push(result), { card, sums });
    return { ...this.#run, ...this.#about, bytesPerSecond: card.bytesPerSecond, cachedBytesPerToken, host: card.host, cases: results };
  }

  /** Runs cases on one server, to the first that hangs. */
  async #serve(
    cases: readonly Case[],
    done: (result: CaseResult) => void,
    bare: { readonly card: Card; readonly sums: ReadonlyMap<number, number> },
  ) {
    const { ranks } = this.#run;
    const { deviceTimes } = this.#options;
    console.log("  starting the server …");
    await using server = await BenchServer.start(configFor(this.#options, this.#run), {
      single: ranks === null,
      deviceTimes,
      signal: this.#stop.signal,
    });
    this.#stop.server = server;
    const { spec } = await this.#floorOf("sharded");
    const status = await server.status();
    const decode = status?.units.find(({ role }) => role !== "prefill");
    this.#about = {
      description: bare.card.description,
      summary: status?.summary ?? "",
      exchange: decode?.exchange?.by ?? null,
      readySeconds: server.readySeconds,
    };
    for (const batch of new Set([Math.max(...cases.map(({ batch }) => batch)), 1])) await warmUp(server, batch, spec, this.#options);
    for (const one of cases) {
      try {
        if (!isHostChoice(this.#run.device)) await wake(server, one.batch, spec, this.#options);
        const { times, prompt, step } = await driveCase(server, one, spec, this.#options);
        done({ ...one, error: null, times, prompt, step, floor: step === null ? null : await this.#floor(one, step, bare) });
        console.log(`  ${nameOf(one)}: ${times.tokensPerSecond.toFixed(1)} tokens/s`);
      } catch (error) {
        if (this.#stop.signal.aborted) throw error;
        const message = error instanceof Error ? error.message : String(error);
        console.log(`  ${nameOf(one)} failed: ${message}`);
        done({ ...one, error: message, times: null, prompt: null, step: null, floor: null });
        if (error instanceof HangError) return;
      }
    }
  }

  async #bareSums(hiddenSize: number): Promise<ReadonlyMap<number, number>> {
    const { ranks, device } = this.#run;
    const { gpus, cases, exchange } = this.#options;
    if (ranks === null || ranks === 1) return new Map();
    const sizes = [...new Set(cases.map(({ batch }) => batch * hiddenSize))];
    const places = Array.from({ length: ranks }, (_, rank) => gpus === null ? null : gpus[rank % gpus.length]);
    return await measureBareSums({ device, gpus: places, sizes, exchange: exchange === "auto" ? undefined : exchange }, this.#stop.signal);
  }

  async #floor(one: Case, step: StepShare, { card, sums }: { readonly card: Card; readonly sums: ReadonlyMap<number, number> }): Promise<StepFloor> {
    const { spec } = await this.#floorOf("sharded");
    const perStep = Math.round(step.sums);
    // With feed-forward blocks whole on every rank, a layer has one sum less.
    const replicated = perStep > 0 && perStep <= Floor.exchanges(spec, this.#options, this.#run, "replicated");
    const floor = await this.#floorOf(replicated ? "replicated" : "sharded");
    const { weights, latents } = floor.bytes(one);
    const readMs = (weights + latents) / card.bytesPerSecond * 1000;
    const sumMs = sums.get(one.batch * spec.hiddenSize) ?? 0;
    return { weightBytes: weights, latentBytes: latents, readMs, sumMs, totalMs: readMs + perStep * sumMs };
  }

  async #floorOf(feedForward: "sharded" | "replicated"): Promise<Floor> {
    const known = this.#floors.get(feedForward) ?? await Floor.of(this.#options, this.#run, feedForward);
    this.#floors.set(feedForward, known);
    return known;
  }
}
