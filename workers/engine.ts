/**
 * `Engine`: a model in this process, as a library.
 *
 * @module
 */
import type { FinishReason, ServedModel, TokenEngine, TokenLogprob } from "../core/engine.ts";
import { LatentmeshError } from "../core/errors.ts";
import { Checkpoint } from "../core/model/checkpoint.ts";
import { parseModelConfig } from "../core/model/config.ts";
import { parseGenerationConfig } from "../core/model/generation_config.ts";
import type { WeightPolicy } from "../core/model/matrix_source.ts";
import type { ModelSpec } from "../core/model/spec.ts";
import { GREEDY, type SamplingParams } from "../core/sampling/params.ts";
import { type ChatMessage, ChatTemplate } from "../core/text/chat_template.ts";
import { generateText } from "../core/text/generate.ts";
import { TextTokenizer } from "../core/text/tokenizer.ts";
import type { Device } from "../kernels/device.ts";
import type { CacheDtype } from "../kernels/latent_cache/layout.ts";
import { type DeviceChoice, openDevice } from "../kernels/providers.ts";
import { type LoadProgress, loadWeights } from "./loader.ts";
import { Model } from "./model.ts";
import { DirectoryFiles } from "./model_files.ts";
import { LocalTokenEngine } from "./token_engine.ts";

/** What {@link Engine.load} loads, and onto what. */
export interface EngineOptions {
  /** Model directory in Hugging Face form. */
  readonly model: string;
  /** `auto` (default): a hardware GPU if there is one, else the CPU. */
  readonly device?: DeviceChoice;
  /** What is done to the linear weights of the layers; `keep` (default) leaves them as stored. */
  readonly weights?: WeightPolicy;
  /** Tokens all sequences together may hold in the latent cache; default: four contexts of the model, at most 32768. */
  readonly maxTokensTotal?: number;
  /** Precision of cached latents; default: f32 on the CPU, f16 on GPUs. */
  readonly cacheDtype?: CacheDtype;
  /** Prompt tokens computed at a time; default: 64 on the CPU, 512 on GPUs. */
  readonly prefillChunk?: number;
  /** Path of Dawn's module, for `device: "dawn"`. */
  readonly dawn?: string;
  /** Called while weights are loaded. */
  readonly onProgress?: (progress: LoadProgress) => void;
}

/** What to generate: a prompt (text or tokens) or a conversation. */
export interface GenerateOptions extends Partial<SamplingParams> {
  /** A text, or its tokens. */
  readonly prompt?: string | readonly number[];
  /** A conversation, for the chat template. */
  readonly messages?: readonly ChatMessage[];
  /** Default: as many as the context holds. */
  readonly maxTokens?: number;
  /** Texts that end the generation; they are left out. */
  readonly stop?: readonly string[];
  /** Alternatives to report with each token's log-probability; null (default): no log-probabilities. */
  readonly logprobs?: number | null;
  /** Do not stop at the model's end-of-sequence tokens. */
  readonly ignoreEos?: boolean;
  /** Aborts the generation. */
  readonly signal?: AbortSignal;
}

/** A piece of generated text. */
export interface GeneratedPiece {
  /** Text that became certain. */
  readonly text: string;
  /** The tokens behind it. */
  readonly tokens: readonly number[];
  /** One for each token, where asked for. */
  readonly logprobs: readonly TokenLogprob[];
  /** Set in the last piece. */
  readonly finishReason: FinishReason | null;
}

/** Negative log-likelihood of one document. */
export interface DocumentScore {
  /** Tokens predicted: all but the first. */
  readonly tokens: number;
  /** Σ −ln p(token | tokens before it), in nats. */
  readonly nll: number;
}

interface EngineParts {
  readonly spec: ModelSpec;
  readonly device: Device;
  readonly deviceReason: string;
  readonly weightBytes: number;
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
  /** Bytes of weights on the device. */
  readonly weightBytes: number;
  /** What a server needs. */
  readonly served: ServedModel;
  readonly #device: Device;
  readonly #tokens: LocalTokenEngine;

  private constructor(parts: EngineParts) {
    this.spec = parts.spec;
    this.served = parts.served;
    this.device = `${parts.device.kind} (${parts.device.description}): ${parts.deviceReason}`;
    this.weightBytes = parts.weightBytes;
    this.#device = parts.device;
    this.#tokens = parts.tokens;
  }

  /**
   * Loads a model directory: config.json, *.safetensors, tokenizer.json and, where present, tokenizer_config.json, generation_config.json and a chat template.
   *
   * @throws {LatentmeshError} saying which file, field or device cannot be used
   */
  static async load(options: EngineOptions): Promise<Engine> {
    using files = new DirectoryFiles(options.model);
    const configText = await files.text("config.json");
    if (configText === null) {
      throw new LatentmeshError("not_found", `Cannot load ${files.name}: it is not a model directory (no config.json in it)`, { param: "model" });
    }
    const spec = parseModelConfig(configText, `${files.name}/config.json`);
    const generation = parseGenerationConfig(await files.text("generation_config.json"), `${files.name}/generation_config.json`);
    const tokenizer = await TextTokenizer.load(files);
    const chatTemplate = await ChatTemplate.load(files, tokenizer.config);
    const checkpoint = await Checkpoint.open(files);
    const { device, reason } = await openDevice(options.device ?? "auto", { dawn: options.dawn });
    try {
      const weights = await loadWeights(device, checkpoint, spec, { weights: options.weights ?? "keep", onProgress: options.onProgress });
      const tokens = new LocalTokenEngine(await Model.create(device, weights, modelOptions(options, spec, device)));
      const served: ServedModel = {
        id: files.name.split("/").at(-1)!,
        created: Math.floor(Date.now() / 1000),
        engine: tokens,
        tokenizer,
        chatTemplate,
        vocabSize: spec.vocabSize,
        eosTokens: eosTokens(spec, generation.eosTokens, tokenizer),
        samplingDefaults: generation.sampling,
      };
      return new Engine({ spec, device, deviceReason: reason, weightBytes: weights.bytes, tokens, served });
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
  async *generate(options: GenerateOptions): AsyncGenerator<GeneratedPiece> {
    const prompt = this.#promptOf(options);
    const request = {
      prompt,
      maxTokens: options.maxTokens ?? this.served.engine.maxContext - prompt.length,
      sampling: { ...GREEDY, ...samplingOf(options) },
      choice: 0,
      stopTokens: new Set(options.ignoreEos ? [] : this.served.eosTokens),
      logprobs: options.logprobs ?? null,
      promptLogprobs: null,
      signal: options.signal ?? new AbortController().signal,
    };
    for await (const event of generateText(this.served, request, { stop: options.stop ?? [] })) {
      if (event.kind === "piece") {
        const { text, tokens, logprobs, finishReason } = event;
        yield { text, tokens, logprobs, finishReason };
      }
    }
  }

  /**
   * Scores the first `limitTokens` tokens of a text, each given BOS and the tokens before it.
   *
   * @throws {LatentmeshError} `invalid_request` if the limit exceeds the context
   */
  async score(text: string, options: { readonly limitTokens: number; readonly signal?: AbortSignal }): Promise<DocumentScore> {
    const { tokenizer } = this.served;
    const tokens = tokenizer.withBos(tokenizer.encode(text, { special: true }));
    const prompt = tokens.slice(0, options.limitTokens + (tokens[0] === tokenizer.bosToken ? 1 : 0));
    const nll = await scoreTokens(this.served.engine, prompt, options.signal);
    return { tokens: Math.max(0, prompt.length - 1), nll };
  }

  /** Waits for what runs, then frees the device. */
  async close(): Promise<void> {
    await this.#tokens.close();
    await this.#device.close();
  }

  #promptOf({ prompt, messages }: GenerateOptions): readonly number[] {
    if ((prompt === undefined) === (messages === undefined)) {
      throw new LatentmeshError("invalid_request", "Give either prompt or messages", { param: "prompt" });
    }
    if (prompt !== undefined) return typeof prompt === "string" ? this.served.tokenizer.encode(prompt, { special: true }) : prompt;
    if (this.served.chatTemplate === null) {
      throw new LatentmeshError("invalid_request", `Model ${this.served.id} has no chat template; use prompt`, { param: "messages" });
    }
    return this.served.tokenizer.encode(this.served.chatTemplate.render(messages!), { special: false });
  }
}

/** Σ −ln p of all tokens but the first. */
async function scoreTokens(engine: TokenEngine, prompt: readonly number[], signal = new AbortController().signal): Promise<number> {
  const request = { prompt, maxTokens: 0, sampling: GREEDY, choice: 0, stopTokens: new Set<number>(), logprobs: null, promptLogprobs: 0, signal };
  let nll = 0;
  for await (const event of engine.generate(request)) {
    if (event.kind === "prompt") { for (const token of event.logprobs) nll -= token?.logprob ?? 0; }
  }
  return nll;
}

function samplingOf(options: GenerateOptions): Partial<SamplingParams> {
  const keys = Object.keys(GREEDY) as (keyof SamplingParams)[];
  return Object.fromEntries(keys.filter((key) => options[key] !== undefined).map((key) => [key, options[key]]));
}

function eosTokens(spec: ModelSpec, generation: readonly number[], tokenizer: TextTokenizer): readonly number[] {
  if (generation.length > 0) return generation;
  if (spec.eosTokens.length > 0) return spec.eosTokens;
  return tokenizer.eosToken === null ? [] : [tokenizer.eosToken];
}

function modelOptions(options: EngineOptions, spec: ModelSpec, device: Device) {
  const onCpu = device.kind === "cpu";
  const maxTokens = options.maxTokensTotal ?? Math.min(4 * spec.maxPositions, 32768);
  const maxContext = Math.min(spec.maxPositions, maxTokens);
  const prefillRows = Math.min(options.prefillChunk ?? (onCpu ? 64 : 512), maxContext);
  return {
    cacheDtype: options.cacheDtype ?? (onCpu ? "f32" : "f16"),
    maxTokens,
    maxContext,
    maxSequences: 1,
    limits: { prefillRows, decodeRows: 1, window: Math.min(512, maxContext), logitRows: Math.min(64, prefillRows) },
  } as const;
}
