/**
 * `Engine`: a model in this process, as a library.
 *
 * @module
 */
import { z } from "zod";
import type { CacheDtype, IndexDtype } from "../core/cache/cache_dtype.ts";
import { callback, checkOptions } from "../core/check_options.ts";
import type { DeviceChoice } from "../core/device_kind.ts";
import type { ServedModel } from "../core/engine.ts";
import { LatentmeshError } from "../core/errors.ts";
import type { WeightPolicy } from "../core/model/matrix_source.ts";
import type { ModelSpec } from "../core/model/spec.ts";
import { newStepParts, type ProcessWork, type StepParts } from "../core/step_times.ts";
import type { DocumentScore } from "../core/text/text_engine.ts";
import type { LoadProgress, LoadTimes } from "../core/wire/load_times.ts";
import { RunningCluster } from "./cluster.ts";
import { clusterServices } from "./compose.ts";
import type { Speculation } from "../core/speculation/speculation.ts";
import { PROBLEM_LINES } from "./config/flag_settings.ts";
import { definedOnly } from "./config/merge.ts";
import { resolveSettings } from "./config/settings.ts";
import type { AnswerOptions, AnswerPiece } from "./library/generate_answer.ts";
import type { ModelServer, ServeOptions } from "./library/serve_model.ts";

/** What {@link Engine.load} loads, and onto what. */
export interface EngineOptions {
  /**
   * Model directory in Hugging Face form; or `org/name[@revision]`, fetched from the hub (`org/name:Q4_K_M` for one of its GGUF files); or `synthetic:NAME`, random weights to measure with; default: the embedded
   * model.
   */
  readonly model?: string;
  /** `auto` (default): a hardware GPU if there is one, else the CPU. */
  readonly device?: DeviceChoice;
  /** What is done to the linear weights of the layers; `keep` (default) leaves them as stored. */
  readonly weights?: WeightPolicy;
  /** Generations that are computed together; default: 64. Where the device has matrix units, 5 and more decode on them, in f16. */
  readonly maxBatch?: number;
  /** Whether tokens are guessed and verified several at a time, which changes none of them; default: `auto`, where it is likely to save time. */
  readonly speculate?: Speculation;
  /** Tokens all sequences together may hold in the latent cache; default: four contexts of the model, at most 32768. */
  readonly maxTokensTotal?: number;
  /** Precision of cached latents; default: f32 on the CPU, f16 on GPUs. `q8` takes 57 % of the bytes of f16 where latents have 512 values. */
  readonly cacheDtype?: CacheDtype;
  /** Precision of cached index keys, of models with sparse attention; default: as latents, f16 beside `q8`. `fp8` takes 56 % of the bytes of f16, and may choose other tokens. */
  readonly indexDtype?: IndexDtype;
  /** Prompt tokens computed at a time; default: 64 on the CPU, and 512 to 4096 on GPUs, by their memory, as far as that can be told. */
  readonly prefillChunk?: number;
  /** Positions whose keys and values are expanded at a time; default: 512 to 4096, by a GPU's memory. */
  readonly prefillWindow?: number;
  /** Most milliseconds between two tokens of a running generation while prompts of others are computed; default: about three of its steps. */
  readonly maxStepMs?: number;
  /** Path of Dawn's module, for `device: "dawn"`. */
  readonly dawn?: string;
  /** Time every pass on the device, which costs some; see {@link Engine.work}. */
  readonly deviceTimes?: boolean;
  /** Threads of `device: "wasm"`; default: as many as there are cores. */
  readonly threads?: number;
  /** Called while a model is downloaded, and then while its weights are loaded. */
  readonly onProgress?: (progress: LoadProgress) => void;
}

/**
 * A model loaded in this process. Generations that are asked for together are computed together, each as if it were alone.
 *
 * @example
 * ```ts
 * import { Engine } from "@latentmesh/latentmesh";
 *
 * const engine = await Engine.load({ model: "models/tiny-mla", device: "cpu" });
 * let text = "";
 * for await (const piece of engine.generate({ prompt: "And it came to pass", maxTokens: 4 })) text += piece.text;
 * await engine.close(); // or begin with `await using engine = …`
 * ```
 */
export class Engine implements AsyncDisposable {
  readonly #cluster: RunningCluster;

  private constructor(cluster: RunningCluster) {
    this.#cluster = cluster;
  }

  /**
   * Loads a model directory, or fetches a model from the hub first: config.json, *.safetensors, tokenizer.json or tiktoken.model and, where present, tokenizer_config.json, generation_config.json and a
   * chat template. What drivers do when kernels first run, software ones for up to a minute, is done when it resolves.
   *
   * @throws {LatentmeshError} saying which file, field or device cannot be used
   */
  static async load(options: EngineOptions = {}): Promise<Engine> {
    const { dawn, deviceTimes: times, threads, onProgress, ...settings } = options;
    checkOptions(ownOptions, options, { of: "Engine.load", code: "invalid_config", hint: "a cluster has more (Cluster.start)" });
    const config: Record<string, Record<string, unknown> | unknown> = { threads };
    for (const [option, value] of Object.entries(settings)) {
      const [section, key] = SETTING_OF[option as keyof typeof SETTING_OF].split(".");
      config[section] = key === undefined ? value : { ...config[section] as object | undefined, [key]: value };
    }
    const resolved = withOptionNames(() => resolveSettings({}, { device: "auto", ...definedOnly(config) }, () => undefined));
    return new Engine(await RunningCluster.alone({ ...resolved, dawn, tuning: { times, threads } }, clusterServices, onProgress));
  }

  /** The model's shape. */
  get spec(): ModelSpec {
    return this.#cluster.spec;
  }

  /** Name of the device, and why it was taken. */
  get device(): string {
    return this.#cluster.device;
  }

  /** What would make more of this machine, for people. */
  get advice(): readonly string[] {
    return this.#cluster.advice;
  }

  /** Bytes of weights on the device. */
  get weightBytes(): number {
    return this.#cluster.weightBytes;
  }

  /** Where the time of loading went. */
  get loadTimes(): LoadTimes {
    return this.#cluster.loadTimes!;
  }

  /** What a server needs. */
  get served(): ServedModel {
    return this.#cluster.served;
  }

  /**
   * Generates text, or an answer that calls tools or has a form. Greedy unless a temperature is given. Leaving the iteration or aborting `signal` stops the generation.
   *
   * @throws {LatentmeshError} `invalid_request` if the options cannot be used, `cancelled` when aborted, with the signal's reason as its `cause`
   */
  generate(options: AnswerOptions): AsyncGenerator<AnswerPiece> {
    return this.#cluster.generate(options);
  }

  /**
   * Serves it over the HTTP API that the command `serve` has, page included, until the server or the engine is closed. Starts processes that prepare requests, for which
   * it needs permission to run Deno.
   *
   * @param options the section `server` of a cluster file, such as `{ port: 8080 }`
   * @throws {LatentmeshError} `invalid_config` that names the option, or why the port cannot be had
   */
  serve(options: ServeOptions = {}): Promise<ModelServer> {
    return this.#cluster.serve(options);
  }

  /**
   * Scores the first `limitTokens` tokens of a text, each given BOS and the tokens before it.
   *
   * @throws {LatentmeshError} `invalid_request` if the limit exceeds the context
   */
  score(text: string, options: { readonly limitTokens: number; readonly signal?: AbortSignal }): Promise<DocumentScore> {
    return this.#cluster.score(text, options);
  }

  /** Where the time of its steps, and of pieces of prompts, has gone. */
  async work(): Promise<ProcessWork> {
    const { steps, units: [{ workers: [{ stats }] }] } = await this.#cluster.describe();
    const parts: ProcessWork["parts"] = stats?.parts ?? { prefill: newStepParts(), decode: newStepParts() } satisfies Record<string, StepParts>;
    return { steps, parts: structuredClone(parts) };
  }

  /** Waits for what runs, then frees the device. */
  async close(): Promise<void> {
    await this.#cluster.close();
  }

  /** The same as {@link close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Which setting of a cluster file each option is. */
const SETTING_OF = {
  model: "model",
  device: "device",
  weights: "weights",
  maxBatch: "decode.maxBatch",
  speculate: "decode.speculate",
  maxTokensTotal: "cache.maxTokens",
  cacheDtype: "cache.dtype",
  indexDtype: "cache.indexDtype",
  prefillChunk: "prefill.chunk",
  prefillWindow: "prefill.window",
  maxStepMs: "mixed.maxStepMs",
} as const satisfies Partial<Record<keyof EngineOptions, string>>;

/** Options that no cluster file has; what others may be is checked as in a file. */
const ownOptions = z.strictObject({
  ...Object.fromEntries(Object.keys(SETTING_OF).map((option) => [option, z.unknown()])) as Record<keyof typeof SETTING_OF, z.ZodUnknown>,
  threads: z.unknown(),
  dawn: z.string().min(1),
  deviceTimes: z.boolean(),
  onProgress: callback,
}).partial();

/** Errors name the option that the caller has given, and no setting of a file that there is not. */
function withOptionNames<T>(resolve: () => T): T {
  try {
    return resolve();
  } catch (error) {
    if (!(error instanceof LatentmeshError) || error.param === undefined) throw error;
    const optionOf = (path: string) => Object.entries(SETTING_OF).find(([, setting]) => setting === path)?.[0] ?? path;
    const param = optionOf(error.param);
    // Where there are several, each is in a line of its own.
    const message = error.message.replace(`the configuration: ${error.param}`, param).replace("the configuration:\n", "the options:\n")
      .replaceAll(PROBLEM_LINES, optionOf).replace(error.param, param);
    throw new LatentmeshError(error.code, message, { param, cause: error });
  }
}
