/**
 * A running cluster, as a library.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../core/cache/blocks.ts";
import { blockTokensOf } from "../core/cache/token_share.ts";
import { withModelFetched } from "./config/fetch_model.ts";
import { withDawn } from "./config/fetched_dawn.ts";
import { LatentmeshError } from "../core/errors.ts";
import type { ServedModel } from "../core/engine.ts";
import { ceilDiv } from "../core/numeric.ts";
import { type ModelPackage, servedModel } from "../core/model_package.ts";
import { type DocumentScore, scoreDocument } from "../core/text/text_engine.ts";
import type { WorkerStats } from "../core/wire/stats.ts";
import type { StepTimes } from "../core/step_times.ts";
import { shortPositions } from "../core/model/rope.ts";
import type { ModelSpec } from "../core/model/spec.ts";
import type { CellArithmetic } from "../core/registry/fingerprint.ts";
import type { LoadTimes } from "../core/wire/load_times.ts";
import { arithmeticOf } from "./fleet/arithmetic.ts";
import { type CachePlan, type ClusterModel, PROMPTS_PER_UNIT, resolveCuts } from "./planning/assignment.ts";
import { ClusterTokenEngine } from "./serving/cluster_engine.ts";
import { adviceFor, summarize } from "./fleet/cluster_summary.ts";
import { Coordinator } from "./fleet/coordinator.ts";
import { fitCache } from "./planning/fit_cache.ts";
import { fitFeedForward } from "./planning/fit_feed_forward.ts";
import { loadClusterModel } from "./fleet/load_model.ts";
import { LocalHost } from "./fleet/local_host.ts";
import { type ClusterStatus, type SchedulingStatus, schedulingStatus, unitStatus } from "./observe/cluster_status.ts";
import { OutcomeListeners, tellOutcome } from "./serving/outcome_listeners.ts";
import { tracePhases } from "./observe/phases.ts";
import { logLoaded } from "./logs/log_loaded.ts";
import type { RequestOutcome } from "./serving/running_request.ts";
import { createGrammars } from "./text/model_grammars.ts";
import type { Grammars } from "./grammar/grammars.ts";
import { type AnswerOptions, type AnswerPiece, generateAnswer } from "./library/generate_answer.ts";
import type { ModelServer, ServeOptions } from "./library/serve_model.ts";
import type { ClusterServices } from "./planning/services.ts";
import { generatesFromSlices } from "./config/mixed_units.ts";
import { asOneMixed, type Settings } from "./config/settings.ts";
import type { OnLoading, UnitHost } from "./fleet/unit_host.ts";

/** One worker of a running cluster. */
export interface WorkerStatus {
  /** Name of this worker process; a restarted one has another. */
  readonly worker: string;
  /** The unit it belongs to, such as `decode-0`. */
  readonly unit: string;
  /** Its rank in that unit. */
  readonly rank: number;
  /** Name of its machine. */
  readonly host: string;
  /** Its process there. */
  readonly pid: number;
  /** Its device, for people. */
  readonly device: string;
  /** Membership of the unit: goes up when a worker is replaced. */
  readonly epoch: number;
  /** Running totals. */
  readonly stats: WorkerStats;
}

/** Units that requests are served on, and whoever keeps them. */
export class RunningCluster implements AsyncDisposable {
  /** What a server needs. */
  readonly served: ServedModel;
  /** The model's shape. */
  readonly spec: ModelSpec;
  /** Rejects when the cluster cannot be kept together any more. */
  readonly failed: Promise<never>;
  /** What it consists of, for people. */
  readonly summary: string;
  /** What would make more of its machines, for people. */
  readonly advice: readonly string[];
  readonly #host: UnitHost;
  readonly #engine: ClusterTokenEngine;
  readonly #servers = new Set<ModelServer>();
  readonly #outcomes = new OutcomeListeners();
  readonly #arithmetic: () => Promise<CellArithmetic>;
  #grammars: Grammars | null = null;
  #closing = false;
  #closed = false;

  private constructor(host: UnitHost, settings: Settings, clusterModel: ClusterModel, { digestFiles }: ClusterServices, gpus: number) {
    const { package: model, directory } = clusterModel;
    const { spec } = model;
    this.#arithmetic = () => arithmeticOf(settings, clusterModel, host, () => digestFiles(directory, () => !this.#closed));
    this.#host = host;
    this.#engine = new ClusterTokenEngine(host, {
      ...servingOptions(host.cache, settings, model),
      onArrival: () => {
        const traced = tracePhases();
        return (outcome) => {
          tellOutcome(traced, outcome);
          this.#outcomes.tell(outcome);
        };
      },
    });
    host.attach(this.#engine.serving);
    host.failed.catch((error) => this.#engine.fail(error));
    // The directory of what came from a hub is called after its commit.
    this.served = servedModel({ ...model, id: settings.hub?.repository ?? model.id }, this.#engine);
    this.spec = spec;
    this.failed = host.failed;
    this.summary = summarize(settings, resolveCuts(settings, model).decode, host);
    this.advice = adviceFor(host, { gpus, threads: settings.tuning.threads });
  }

  /** Starts workers in processes of their own and waits until they can serve. @throws {LatentmeshError} */
  static async launch(given: Settings, services: ClusterServices, onLoading?: OnLoading): Promise<RunningCluster> {
    const sized = await fitCache(await withDawn(await withModelFetched(given, onLoading)), services);
    const started = performance.now();
    const model = await loadClusterModel(sized, services);
    logLoaded("coordinator", { files: performance.now() - started });
    const settings = await fitFeedForward(sized, model.package, model.directory, services);
    const coordinator = await Coordinator.start(settings, model, services, onLoading);
    return new RunningCluster(coordinator, settings, model, services, services.gpuCount());
  }

  /** Serves from this process alone: one mixed worker, whatever the settings say of units. @throws {LatentmeshError} */
  static async alone(given: Settings, services: ClusterServices, onLoading?: OnLoading): Promise<RunningCluster> {
    const settings = await fitCache(asOneMixed(await withDawn(await withModelFetched(given, onLoading))), services);
    const model = await loadClusterModel(settings, services);
    const host = await LocalHost.start(settings, model, services, onLoading);
    return new RunningCluster(host, settings, model, services, 0);
  }

  /** Bytes of weights on all devices. */
  get weightBytes(): number {
    return this.#host.members.reduce((sum, { weightBytes = 0 }) => sum + weightBytes, 0);
  }

  /** The devices, for people. */
  get device(): string {
    if (this.#host instanceof LocalHost) return this.#host.device;
    const devices = this.#host.members.map(({ hello, slot }) => ({ text: `${hello.device.kind} (${hello.device.description})`, slot }));
    const kinds = [...new Set(devices.map(({ text }) => text))].join(", ");
    const shared = devices.length > 1 && devices.every(({ slot }) => !slot.remote && slot.gpu === null);
    return `${kinds}: ${devices.length} worker${devices.length === 1 ? "" : "s"}${shared ? ", all on the same device" : ""}`;
  }

  /** Where the time of loading went, if it was in this process. */
  get loadTimes(): LoadTimes | undefined {
    return this.#host instanceof LocalHost ? this.#host.loadTimes : undefined;
  }

  /** Where the time of decode steps went. */
  get stepTimes(): Readonly<StepTimes> {
    return this.#engine.times;
  }

  /** What the scheduler has counted, and what it is at. */
  get scheduling(): SchedulingStatus {
    return schedulingStatus(this.#engine.serving.scheduler);
  }

  /**
   * What the bits of its answers depend on; reads all of the model's files, in the background.
   *
   * @internal
   * @throws {LatentmeshError} `cancelled` if it is closed meanwhile
   */
  arithmetic(): Promise<CellArithmetic> {
    return this.#arithmetic();
  }

  /** Has a listener told of every request that has ended, once. @returns what ends that */
  onOutcome(listener: (outcome: RequestOutcome) => void): () => void {
    return this.#outcomes.add(listener);
  }

  /** What it consists of and what it is at. Never fails: workers that do not answer are reported without their totals. */
  async describe(): Promise<ClusterStatus> {
    const { scheduler } = this.#engine.serving;
    const units = await Promise.all(this.#host.units.map((unit) => unitStatus(unit, scheduler)));
    const { summary, scheduling } = this;
    const { blockTokens, decodeBlockTokens } = scheduler.options;
    const steps = { ...this.#engine.times };
    return { summary, scheduling, steps, blockTokens, decodeBlockTokens, units, incidents: this.#host.incidents.latest };
  }

  /** Throws unless every cache block is accounted for. For tests. */
  checkIntegrity(): void {
    this.#engine.serving.scheduler.checkIntegrity();
  }

  /** Asks every worker how it is. */
  async status(): Promise<WorkerStatus[]> {
    return await Promise.all(
      this.#host.units.flatMap((unit) =>
        unit.present().map(async ({ client, worker, hello, slot }): Promise<WorkerStatus> => ({
          worker,
          unit: unit.name,
          rank: slot.rank,
          host: hello.host,
          pid: hello.pid,
          device: hello.device.description,
          epoch: unit.epoch,
          stats: (await client.call("stats", {}, "stats")).reply.stats,
        }))
      ),
    );
  }

  /**
   * Generates text, or an answer that calls tools or has a form. Greedy unless a temperature is given. Leaving the iteration or aborting `signal` stops the generation.
   *
   * @throws {LatentmeshError} `invalid_request` if the options cannot be used, `cancelled` when aborted (with the signal's reason as its `cause`), `worker_lost` or
   * `timeout` if a worker failed
   */
  generate(options: AnswerOptions): AsyncGenerator<AnswerPiece> {
    return generateAnswer(this.served, options, () => {
      if (this.#closing) throw shuttingDown();
      return this.#grammars ??= createGrammars(this.served);
    });
  }

  /**
   * Serves it over the HTTP API that the command `serve` has, page included, until the server or the cluster is closed. Starts processes that prepare requests.
   *
   * @param options the section `server` of a cluster file, such as `{ port: 8080 }`
   * @throws {LatentmeshError} `invalid_config` that names the option, or why the port cannot be had; `capacity` if it is closed meanwhile
   */
  async serve(options: ServeOptions = {}): Promise<ModelServer> {
    // What only servers need is loaded by those that serve.
    const { ModelServer } = await import("./library/serve_model.ts");
    const server: ModelServer = await ModelServer.start(this, this.weightBytes, options, () => this.#servers.delete(server));
    if (!this.#closing) {
      this.#servers.add(server);
      return server;
    }
    await server.close({ now: true });
    throw shuttingDown();
  }

  /** Scores the first `limitTokens` tokens of a text, each given BOS and the tokens before it. Exact: prompts are prefilled. */
  score(text: string, options: { readonly limitTokens: number; readonly signal?: AbortSignal }): Promise<DocumentScore> {
    return scoreDocument(this.served, text, options);
  }

  /**
   * Waits for what runs, then stops its HTTP servers and all workers of this host, and frees their devices.
   *
   * @param options.now end what runs with an error instead
   */
  async close(options: { readonly now?: boolean } = {}): Promise<void> {
    this.#closing = true;
    if (options.now) this.#engine.serving.failAll(shuttingDown());
    // Whatever cannot be closed in order, the devices are given back.
    const served = await Promise.allSettled([...this.#servers].map((server) => server.close(options)));
    this.#closed = true;
    try {
      await this.#engine.close();
    } finally {
      this.#grammars?.[Symbol.dispose]();
      await this.#host.close();
    }
    for (const one of served) if (one.status === "rejected") throw one.reason;
  }

  /** The same as {@link close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function shuttingDown(): LatentmeshError {
  return new LatentmeshError("capacity", "The cluster is shutting down");
}

/** How requests are served on units of such sizes. */
function servingOptions({ maxContext, maxTokens, prefillTokens, chunk }: CachePlan, settings: Settings, model: ModelPackage) {
  const { maxBatch, deadlineMs } = settings.decode;
  const { spec } = model;
  const decodeBlockTokens = blockTokensOf({ of: resolveCuts(settings, model).decode.tokenShares ?? 1 });
  return {
    scheduler: {
      blockTokens: BLOCK_TOKENS,
      decodeBlockTokens,
      chunkTokens: chunk,
      maxBatch,
      stepRows: maxBatch,
      maxWaiting: settings.maxWaiting,
      maxWaitingPerClient: settings.maxWaitingPerKey,
      maxPrompts: PROMPTS_PER_UNIT,
      maxLosses: MOST_LOST_WORKERS,
    },
    vocabulary: spec.vocabSize,
    layers: spec.layers,
    maxContext,
    shortPositions: shortPositions(spec.rope),
    maxPositions: spec.maxPositions,
    deadlineMs: deadlineMs + STEP_SLACK,
    decodeBlocks: ceilDiv(maxTokens, decodeBlockTokens),
    prefillBlocks: ceilDiv(prefillTokens, BLOCK_TOKENS),
    promptBlocks: generatesFromSlices(settings) ? ceilDiv(prefillTokens, BLOCK_TOKENS) : null,
    maxStepMs: settings.mixed.maxStepMs,
    speculate: settings.decode.speculate,
    mtp: spec.mtp,
  };
}

/** Milliseconds that a step's reply may come after its ranks' own deadline. */
const STEP_SLACK = 1000;
/** Workers that one request may lose, without a token in between, before it is given up: it may be the reason. */
const MOST_LOST_WORKERS = 5;
