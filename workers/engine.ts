/**
 * `Engine`: a model in this process, as a library.
 *
 * @module
 */
import { isHost, isHostChoice } from "../core/device_kind.ts";
import type { ServedModel } from "../core/engine.ts";
import type { WeightPolicy } from "../core/model/matrix_source.ts";
import { choosePrefillSizes } from "../core/model/prefill_sizes.ts";
import type { ModelSpec } from "../core/model/spec.ts";
import { readModelPackage, servedModel } from "../core/model_package.ts";
import { type DocumentScore, type GeneratedPiece, type GenerateOptions, generatePieces, scoreDocument } from "../core/text/text_engine.ts";
import { together } from "../core/together.ts";
import type { ProcessWork } from "../core/step_times.ts";
import type { Device } from "../kernels/device.ts";
import { freeMemoryIfKnown } from "../kernels/free_memory.ts";
import type { CacheDtype } from "../kernels/latent_cache/layout.ts";
import { type DeviceChoice, openDevice } from "../kernels/providers.ts";
import type { LoadTimes } from "../core/wire/load_times.ts";
import { LoadClock } from "./load_clock.ts";
import { loadBeside, type LoadProgress, planWeights } from "./loader.ts";
import { Model } from "./model.ts";
import { openModelFiles } from "./model_files.ts";
import { LocalTokenEngine } from "./token_engine.ts";

/** What {@link Engine.load} loads, and onto what. */
export interface EngineOptions {
  /** Model directory in Hugging Face form; or `synthetic:NAME`, random weights to measure with. */
  readonly model: string;
  /** `auto` (default): a hardware GPU if there is one, else the CPU. */
  readonly device?: DeviceChoice;
  /** What is done to the linear weights of the layers; `keep` (default) leaves them as stored. */
  readonly weights?: WeightPolicy;
  /** Tokens all sequences together may hold in the latent cache; default: four contexts of the model, at most 32768. */
  readonly maxTokensTotal?: number;
  /** Precision of cached latents; default: f32 on the CPU, f16 on GPUs. */
  readonly cacheDtype?: CacheDtype;
  /** Prompt tokens computed at a time; default: 64 on the CPU, and 512 to 4096 on GPUs, by their memory, as far as that can be told. */
  readonly prefillChunk?: number;
  /** Positions whose keys and values are expanded at a time; default: 512 to 4096, by a GPU's memory. */
  readonly prefillWindow?: number;
  /** Path of Dawn's module, for `device: "dawn"`. */
  readonly dawn?: string;
  /** Time every pass on the device, which costs some; see {@link Engine.work}. */
  readonly deviceTimes?: boolean;
  /** Called while weights are loaded. */
  readonly onProgress?: (progress: LoadProgress) => void;
}

interface EngineParts {
  readonly spec: ModelSpec;
  readonly device: Device;
  readonly deviceReason: string;
  readonly advice: readonly string[];
  readonly weightBytes: number;
  readonly model: Model;
  readonly loadTimes: LoadTimes;
  readonly tokens: LocalTokenEngine;
  readonly served: ServedModel;
}

/**
 * A model loaded in this process.
 *
 * @example
 * ```ts
 * import { Engine } from "@latentmesh/latentmesh";
 *
 * const engine = await Engine.load({ model: "models/tiny-mla", device: "cpu" });
 * let text = "";
 * for await (const piece of engine.generate({ prompt: "And it came to pass", maxTokens: 4 })) text += piece.text;
 * await engine.close();
 * ```
 */
export class Engine {
  /** The model's shape. */
  readonly spec: ModelSpec;
  /** Name of the device, and why it was taken. */
  readonly device: string;
  /** What would make more of this machine, for people. */
  readonly advice: readonly string[];
  /** Bytes of weights on the device. */
  readonly weightBytes: number;
  /** Where the time of loading went. */
  readonly loadTimes: LoadTimes;
  /** What a server needs. */
  readonly served: ServedModel;
  readonly #device: Device;
  readonly #model: Model;
  readonly #tokens: LocalTokenEngine;

  private constructor(parts: EngineParts) {
    this.spec = parts.spec;
    this.served = parts.served;
    this.device = `${parts.device.kind} (${parts.device.description}): ${parts.deviceReason}`;
    this.advice = parts.advice;
    this.weightBytes = parts.weightBytes;
    this.loadTimes = parts.loadTimes;
    this.#device = parts.device;
    this.#model = parts.model;
    this.#tokens = parts.tokens;
  }

  /**
   * Loads a model directory: config.json, *.safetensors, tokenizer.json and, where present, tokenizer_config.json, generation_config.json and a chat template. What
   * drivers do when kernels first run, software ones for up to a minute, is done when it resolves.
   *
   * @throws {LatentmeshError} saying which file, field or device cannot be used
   */
  static async load(options: EngineOptions): Promise<Engine> {
    using files = openModelFiles(options.model);
    const clock = new LoadClock();
    const model = await clock.time("files", () => readModelPackage(files));
    const { spec, checkpoint } = model;
    // What is free is known before weights take any of it.
    const [{ device, reason: deviceReason, advice: hint }, free] = await clock.time("open", () =>
      together([
        openDevice(options.device ?? "auto", { dawn: options.dawn, times: options.deviceTimes }),
        isHostChoice(options.device ?? "auto") ? Promise.resolve(null) : freeMemoryIfKnown("any"),
      ]));
    try {
      const planned = planWeights(device, checkpoint, spec, { weights: options.weights ?? "keep" });
      const { weights } = planned;
      const create = () => Model.create(device, weights, modelOptions(options, spec, device, free));
      const onDevice = await loadBeside(planned, create, { clock, onProgress: options.onProgress });
      if (!isHost(device.kind)) {
        await clock.time("warmUp", async () => {
          await onDevice.warmUp("prefill");
          await onDevice.warmUp("decode");
        });
      }
      const tokens = new LocalTokenEngine(onDevice);
      const served = servedModel(model, tokens);
      const advice = hint === undefined ? [] : [hint];
      return new Engine({ spec, device, deviceReason, advice, weightBytes: weights.bytes, loadTimes: clock.times, model: onDevice, tokens, served });
    } catch (error) {
      await device.close();
      throw error;
    }
  }

  /**
   * Generates text. Greedy unless a temperature is given. Leaving the iteration or aborting `signal` stops the generation.
   *
   * @throws {LatentmeshError} `invalid_request` if the options cannot be used, `cancelled` when aborted
   */
  generate(options: GenerateOptions): AsyncGenerator<GeneratedPiece> {
    return generatePieces(this.served, options);
  }

  /**
   * Scores the first `limitTokens` tokens of a text, each given BOS and the tokens before it.
   *
   * @throws {LatentmeshError} `invalid_request` if the limit exceeds the context
   */
  score(text: string, options: { readonly limitTokens: number; readonly signal?: AbortSignal }): Promise<DocumentScore> {
    return scoreDocument(this.served, text, options);
  }

  /** Where the time of its steps, and of pieces of prompts, has gone. */
  get work(): ProcessWork {
    return { steps: { ...this.#tokens.times }, parts: structuredClone(this.#model.clock.totals) };
  }

  /** Waits for what runs, then frees the device. */
  async close(): Promise<void> {
    await this.#tokens.close();
    await this.#device.close();
  }
}

function modelOptions(options: EngineOptions, spec: ModelSpec, { kind, limits: { maxBindingBytes } }: Device, freeBytes: number | null) {
  const onHost = isHost(kind);
  const maxTokens = options.maxTokensTotal ?? Math.min(4 * spec.maxPositions, 32768);
  const maxContext = Math.min(spec.maxPositions, maxTokens);
  const given = { chunk: options.prefillChunk, window: options.prefillWindow };
  const { chunk, window } = choosePrefillSizes(spec, { kind, maxBindingBytes, freeBytes }, given, maxContext);
  return {
    cacheDtype: options.cacheDtype ?? (onHost ? "f32" : "f16"),
    maxTokens,
    maxContext,
    maxSequences: 1,
    limits: { prefillRows: chunk, decodeRows: 1, window, logitRows: Math.min(64, chunk) },
  } as const;
}
