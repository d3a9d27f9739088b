/**
 * Prometheus metrics of a server: what requests experience, and what the cluster is at when it is asked. Names mean what vLLM's of the same names mean.
 *
 * @module
 */
import { STEP_PARTS } from "../../core/step_times.ts";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { MOST_DRAFTED } from "../../core/speculation/draft_source.ts";
import type { ClusterStatus } from "./cluster_status.ts";
import { describeForPickers } from "./endpoint_picker.ts";
import type { RequestOutcome } from "../serving/running_request.ts";

const SHORT = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5];
const LONG = [0.001, 0.005, 0.01, 0.02, 0.04, 0.08, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

/** What a request that has ended came to. */
export interface GenerationSummary {
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly generatedTokens: number;
  /** Seconds; null where there was no token. */
  readonly timeToFirstToken: number | null;
  readonly seconds: number;
  readonly reason: string;
}

/** Median and 90th percentile of what was observed in the last minute, in milliseconds. */
export interface RecentLatency {
  readonly median: number;
  readonly high: number;
}

/** What is scraped besides what is counted. */
export interface ObservedServer {
  loading(): { readonly ready: boolean; readonly loadedBytes: number; readonly totalBytes: number; readonly downloading?: boolean };
  /** Errors that nobody took care of. */
  uncaught(): number;
  /** Name of its model in the API; null, or left out: there are several, or none yet. */
  model?(): string | null;
  /** null: there is none, or not yet. */
  cluster(): Promise<ClusterStatus | null>;
}

/** Observations that are kept. */
const MOST_RECENT = 4096;

/** What was observed in the last minute. */
class Recent {
  readonly #at = new Float64Array(MOST_RECENT).fill(-Infinity);
  readonly #ms = new Float64Array(MOST_RECENT);
  #next = 0;

  add(seconds: number): void {
    this.#at[this.#next] = performance.now();
    this.#ms[this.#next] = seconds * 1000;
    this.#next = (this.#next + 1) % MOST_RECENT;
  }

  get latency(): RecentLatency | null {
    const since = performance.now() - 60_000;
    const sorted = this.#ms.filter((_, i) => this.#at[i] >= since).sort();
    if (sorted.length === 0) return null;
    return { median: sorted[Math.floor(sorted.length / 2)], high: sorted[Math.floor(sorted.length * 0.9)] };
  }
}

/** Counts for one server. */
export class ServerMetrics {
  readonly #registry = new Registry();
  readonly #server: ObservedServer;
  readonly #recent = { firstToken: new Recent(), interToken: new Recent() };
  #generatedTokens = 0;
  readonly #requests = this.#counter("requests", "Requests that have ended, by why", ["reason"]);
  readonly #promptTokens = this.#counter("prompt_tokens", "Prompt tokens of requests that have ended");
  readonly #generated = this.#counter("generation_tokens", "Tokens generated");
  readonly #prefixQueries = this.#counter("prefix_cache_queries", "Prompt tokens looked up in the prefix cache");
  readonly #prefixHits = this.#counter("prefix_cache_hits", "Prompt tokens found there");
  readonly #running = this.#gauge("requests_in_flight", "Generations that have not ended");
  readonly #firstToken = this.#histogram("time_to_first_token_seconds", "From arrival to the first token", LONG);
  readonly #interToken = this.#histogram("inter_token_latency_seconds", "Between two tokens of a generation", SHORT);
  readonly #endToEnd = this.#histogram("e2e_request_latency_seconds", "From arrival to the end", LONG);
  readonly #queue = this.#histogram("request_queue_time_seconds", "From arrival to the first chunk of prefill", LONG);
  readonly #prefill = this.#histogram("request_prefill_time_seconds", "From the first chunk of prefill to the last", LONG);
  readonly #handoff = this.#histogram("request_handoff_time_seconds", "From the end of prefill until the last latents were handed over", SHORT);
  readonly #firstDecode = this.#histogram("request_first_decode_time_seconds", "From the first token to the second", SHORT);

  /** @param server asked at every scrape */
  constructor(server: ObservedServer) {
    this.#server = server;
  }

  /** A generation begins. @returns what is told of it */
  begin(): { token(intervalSeconds: number | null): void; end(summary: GenerationSummary): void } {
    this.#running.inc();
    return {
      token: (seconds) => {
        this.#generatedTokens++;
        if (seconds === null) return;
        this.#interToken.observe(seconds);
        this.#recent.interToken.add(seconds);
      },
      end: (summary) => {
        this.#running.dec();
        this.#requests.inc({ reason: summary.reason });
        this.#promptTokens.inc(summary.promptTokens);
        this.#generated.inc(summary.generatedTokens);
        this.#prefixQueries.inc(summary.promptTokens);
        this.#prefixHits.inc(summary.cachedTokens);
        if (summary.timeToFirstToken !== null) {
          this.#firstToken.observe(summary.timeToFirstToken);
          this.#recent.firstToken.add(summary.timeToFirstToken);
        }
        this.#endToEnd.observe(summary.seconds);
      },
    };
  }

  /** Takes in how long a request was in each phase on the cluster. */
  phases({ times }: RequestOutcome): void {
    const observe = (histogram: Histogram, from: number | null, to: number | null) => {
      if (from !== null && to !== null) histogram.observe(Math.max(0, to - from) / 1000);
    };
    observe(this.#queue, times.arrived, times.prefillStarted);
    observe(this.#prefill, times.prefillStarted, times.prefilled);
    observe(this.#handoff, times.prefilled, times.handed);
    observe(this.#firstDecode, times.firstToken, times.secondToken);
  }

  /** For people: totals, and the last minute. */
  get summary() {
    const { firstToken, interToken } = this.#recent;
    return { generatedTokens: this.#generatedTokens, recent: { firstTokenMs: firstToken.latency, interTokenMs: interToken.latency } };
  }

  /** The text that Prometheus reads. */
  async expose(): Promise<{ readonly contentType: string; readonly text: string }> {
    const now = new Registry();
    const { ready, loadedBytes, totalBytes, downloading = false } = this.#server.loading();
    const gauge = (name: string, help: string, value: number) => new Gauge({ name: `latentmesh_${name}`, help, registers: [now] }).set(value);
    gauge("ready", "Whether requests can be served", ready ? 1 : 0);
    gauge("loaded_bytes", "Bytes of weights that have been loaded", downloading ? 0 : loadedBytes);
    gauge("load_bytes", "Bytes of weights in all; 0 where that is not known yet", downloading ? 0 : totalBytes);
    gauge("downloaded_bytes", "Bytes of the model that are there, while it is downloaded; 0 before and after", downloading ? loadedBytes : 0);
    gauge("download_bytes", "Bytes of the model in all, while it is downloaded", downloading ? totalBytes : 0);
    new Counter({ name: "latentmesh_uncaught_errors_total", help: "Errors that nobody took care of: bugs", registers: [now] }).inc(
      this.#server.uncaught(),
    );
    const cluster = await this.#server.cluster();
    if (cluster !== null) {
      describeCluster(now, cluster);
      describeForPickers(now, cluster, this.#server.model?.() ?? null);
    }
    return { contentType: this.#registry.contentType, text: await Registry.merge([this.#registry, now]).metrics() };
  }

  #counter(name: string, help: string, labelNames: string[] = []): Counter {
    return new Counter({ name: `latentmesh_${name}_total`, help, labelNames, registers: [this.#registry] });
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name: `latentmesh_${name}`, help, registers: [this.#registry] });
  }

  #histogram(name: string, help: string, buckets: number[]): Histogram {
    return new Histogram({ name: `latentmesh_${name}`, help, buckets, registers: [this.#registry] });
  }
}

/** Parts of a worker's steps. */
const PARTS = [...STEP_PARTS, "device"] as const;

/** What workers do. */
const PHASES = ["prefill", "decode"] as const;

/** What the cluster is at now. */
function describeCluster(registry: Registry, { scheduling, units, steps }: ClusterStatus): void {
  const set = (name: string, help: string, values: readonly (readonly [labels: Record<string, string>, value: number])[]) => {
    const labelNames = Object.keys(values[0]?.[0] ?? {});
    const Metric = name.endsWith("_total") ? Counter : Gauge;
    const metric = new Metric({ name: `latentmesh_${name}`, help, labelNames, registers: [registry] });
    for (const [labels, value] of values) metric.inc(labels, value);
  };
  set("num_requests_running", "Sequences that are decoding", [[{}, scheduling.running]]);
  set("num_requests_waiting", "Sequences that wait for a place", [[{}, scheduling.waiting]]);
  set("num_preemptions_total", "Sequences that were preempted: their blocks went to others, and they are computed again", [[
    {},
    scheduling.preemptions,
  ]]);
  set("num_replays_total", "Sequences that were rebuilt after a loss", [[{}, scheduling.replays]]);
  const ofDrafts = (counts: readonly number[]) =>
    Array.from({ length: MOST_DRAFTED }, (_, at) => [{ position: String(at) }, counts[at] ?? 0] as const);
  set("spec_decode_num_draft_tokens_total", "Tokens that were guessed and verified, by their place in the guess", ofDrafts(scheduling.drafted));
  set("spec_decode_num_accepted_tokens_total", "Those of them that were right, as were all before them", ofDrafts(scheduling.accepted));
  set("decode_steps_total", "Decode steps", [[{}, steps.steps]]);
  set("decode_step_rows_total", "Tokens computed in decode steps", [[{}, steps.rows]]);
  set("decode_step_seconds_total", "Decode steps from request to replies, the slowest worker's part of that, from one to the next, telling clients", [
    [{ part: "total" }, steps.totalMs / 1000],
    [{ part: "worker" }, steps.workerMs / 1000],
    [{ part: "between" }, steps.betweenMs / 1000],
    [{ part: "tell" }, steps.tellMs / 1000],
  ]);
  const ofUnits = (value: (unit: ClusterStatus["units"][number]) => number) =>
    units.map((unit) => [{ unit: unit.name, role: unit.role }, value(unit)] as const);
  set("unit_up", "Whether a unit can be used", ofUnits(({ up }) => up ? 1 : 0));
  set("unit_epoch", "Membership of a unit", ofUnits(({ epoch }) => epoch));
  set("cache_usage_ratio", "Cache blocks that are in use", ofUnits(({ cache: { blocks, available } }) => blocks === 0 ? 0 : 1 - available / blocks));
  set("cache_prefix_ratio", "Cache blocks that hold a prefix", ofUnits(({ cache: { blocks, published } }) => blocks === 0 ? 0 : published / blocks));
  const ofPrompts = units.flatMap(({ name, role, promptCache }) => promptCache === null ? [] : [{ labels: { unit: name, role }, ...promptCache }]);
  set(
    "prompt_cache_usage_ratio",
    "Blocks in use of a mixed unit's cache of whole prompts, where it generates from slices",
    ofPrompts.map(({ labels, blocks, available }) => [labels, blocks === 0 ? 0 : 1 - available / blocks]),
  );
  const workers = units.flatMap((unit) => unit.workers.map((worker) => ({ unit, worker })));
  const ofWorkers = (value: (worker: ClusterStatus["units"][number]["workers"][number]) => number) =>
    workers.map(({ unit, worker }) => [{ unit: unit.name, rank: String(worker.rank) }, value(worker)] as const);
  const seconds = (ms: number | undefined) => (ms ?? 0) / 1000;
  set("worker_up", "Whether a worker is there", ofWorkers(({ stats }) => stats === null ? 0 : 1));
  set("worker_restarts_total", "Times a worker was started again", ofWorkers(({ restarts }) => restarts));
  set("allreduce_total", "Sums over the ranks of a unit", ofWorkers(({ stats }) => stats?.collectives ?? 0));
  set("allreduce_seconds_total", "Time spent in them", ofWorkers(({ stats }) => seconds(stats?.exchangeMs)));
  set("compute_seconds_total", "Time spent on steps and prompts outside of them", ofWorkers(({ stats }) => seconds(stats?.computeMs)));
  const known = workers.flatMap(({ unit, worker: { rank, stats } }) =>
    stats === null ? [] : [{ unit, labels: { unit: unit.name, rank: String(rank) }, stats }]
  );
  // Only what a worker's role makes it do.
  const work = known.flatMap(({ unit, labels, stats: { parts } }) =>
    PHASES.flatMap((phase) => unit.role === phase || unit.role === "mixed" ? [{ labels: { ...labels, phase }, parts: parts[phase] }] : [])
  );
  const ofParts = PARTS.flatMap((part) => work.map(({ labels, parts }) => [{ ...labels, part }, seconds(parts[`${part}Ms`] ?? 0)] as const));
  set(
    "work_total",
    "Decode steps, and prefill chunks, each turn of which counts where steps run between its layers",
    work.map(({ labels, parts }) => [labels, parts.steps]),
  );
  set(
    "work_seconds_total",
    "What they went into; device goes on beside the others, and is 0 where passes are not timed. A step of a mixed unit waits for a chunk's layers before it",
    ofParts,
  );
  set("submissions_total", "Submissions to the device", work.map(({ labels, parts }) => [labels, parts.submissions]));
  set("submissions_ahead_total", "Those encoded ahead", work.map(({ labels, parts }) => [labels, parts.submissionsAhead]));
  set("peer_sent_bytes_total", "Sent to other workers over current links", ofWorkers(({ stats }) => stats?.sentBytes ?? 0));
  set("peer_received_bytes_total", "Received from them", ofWorkers(({ stats }) => stats?.receivedBytes ?? 0));
  set("handoff_bytes_total", "Latents handed over", ofWorkers(({ stats }) => stats?.handoffBytes ?? 0));
}
