/**
 * A running cluster, as a library.
 *
 * @module
 */
import type { ServedModel } from "../core/engine.ts";
import { servedModel } from "../core/model_package.ts";
import { type DocumentScore, type GeneratedPiece, type GenerateOptions, generatePieces, scoreDocument } from "../core/text/text_engine.ts";
import type { PartitionOptions } from "../core/tpla/partition.ts";
import type { WorkerStats } from "../core/wire/stats.ts";
import type { StepTimes } from "./cluster_sequence.ts";
import { resolveCuts } from "./assignment.ts";
import { ClusterTokenEngine } from "./cluster_engine.ts";
import { Coordinator, type OnLoading } from "./coordinator.ts";
import { loadClusterModel } from "./load_model.ts";
import type { ClusterServices } from "./services.ts";
import type { Settings } from "./settings.ts";

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

/** A coordinator with its workers. */
export class RunningCluster {
  /** What a server needs. */
  readonly served: ServedModel;
  /** Rejects when the cluster cannot be kept together any more. */
  readonly failed: Promise<never>;
  /** What it consists of, for people. */
  readonly summary: string;
  readonly #coordinator: Coordinator;
  readonly #engine: ClusterTokenEngine;

  private constructor(coordinator: Coordinator, engine: ClusterTokenEngine, served: ServedModel, summary: string) {
    this.summary = summary;
    this.#coordinator = coordinator;
    this.#engine = engine;
    this.served = served;
    this.failed = coordinator.failed;
  }

  /** Starts a cluster and waits until it can serve. @throws {LatentmeshError} */
  static async launch(settings: Settings, services: ClusterServices, onLoading?: OnLoading): Promise<RunningCluster> {
    const model = await loadClusterModel(settings, services);
    const coordinator = await Coordinator.start(settings, model, services, onLoading);
    const { spec } = model.package;
    const { maxContext } = coordinator.cache;
    const engine = new ClusterTokenEngine(coordinator, { spec, maxContext, stepDeadlineMs: settings.decode.deadlineMs + STEP_SLACK });
    return new RunningCluster(
      coordinator,
      engine,
      servedModel(model.package, engine),
      summarize(settings, resolveCuts(settings, model.package).decode),
    );
  }

  /** Bytes of weights on all devices. */
  get weightBytes(): number {
    return this.#coordinator.members.reduce((sum, { weightBytes = 0 }) => sum + weightBytes, 0);
  }

  /** The devices, for people. */
  get device(): string {
    const devices = this.#coordinator.members.map(({ hello, slot }) => ({ text: `${hello.device.kind} (${hello.device.description})`, slot }));
    const kinds = [...new Set(devices.map(({ text }) => text))].join(", ");
    const shared = devices.length > 1 && devices.every(({ slot }) => !slot.remote && slot.gpu === null);
    return `${kinds}: ${devices.length} workers${shared ? ", all on the same device" : ""}`;
  }

  /** Where the time of decode steps went. */
  get stepTimes(): Readonly<StepTimes> {
    return this.#engine.times;
  }

  /** Asks every worker how it is. */
  async status(): Promise<WorkerStatus[]> {
    return await Promise.all(
      this.#coordinator.units.flatMap((unit) =>
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
   * Generates text. Greedy unless a temperature is given. Leaving the iteration or aborting `signal` stops the generation.
   *
   * @throws {LatentmeshError} `invalid_request` if the options cannot be used, `cancelled` when aborted, `worker_lost` or `timeout` if a worker failed
   */
  generate(options: GenerateOptions): AsyncGenerator<GeneratedPiece> {
    return generatePieces(this.served, options);
  }

  /** Scores the first `limitTokens` tokens of a text, each given BOS and the tokens before it. Exact: prompts are prefilled. */
  score(text: string, options: { readonly limitTokens: number; readonly signal?: AbortSignal }): Promise<DocumentScore> {
    return scoreDocument(this.served, text, options);
  }

  /** Waits for what runs, then stops all workers of this host. */
  async close(): Promise<void> {
    await this.#engine.close();
    await this.#coordinator.close();
  }
}

function summarize({ decode, prefill }: Settings, { ranks, latentGroups, halo }: PartitionOptions): string {
  const several = (count: number, what: string) => `${count} ${what}${count === 1 ? "" : "s"}`;
  const cut = decode.scheme.attention === "mla"
    ? "mla, heads split and latents whole: exact"
    : `tpla, ${several(latentGroups, "latent slice")}, halo ${halo}`;
  const units = prefill.ranks === 1
    ? several(prefill.workers, "prefill worker")
    : `${several(prefill.workers, "prefill unit")} of ${prefill.ranks} workers`;
  return `${units}, ${several(decode.groups, "decode group")} of ${several(ranks, "rank")} (${cut})`;
}

/** Milliseconds that a step's reply may come after its ranks' own deadline. */
const STEP_SLACK = 1000;
