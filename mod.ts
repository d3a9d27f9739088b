/**
 * Latentmesh: multi-head-latent-attention language models on any GPU that WebGPU reaches.
 *
 * @example Generate text in this process
 * ```ts
 * import { Engine } from "@latentmesh/latentmesh";
 *
 * const engine = await Engine.load({ model: "models/tiny-mla", device: "cpu" });
 * const pieces = await Array.fromAsync(engine.generate({ messages: [{ role: "user", content: "What is a kettle?" }], maxTokens: 8 }));
 * console.assert(pieces.at(-1)?.finishReason === "length");
 * await engine.close();
 * ```
 *
 * @module
 */
export { type ErrorCode, LatentmeshError } from "./core/errors.ts";
export type { FinishReason, SamplingDefaults, ServedModel, TokenEngine, TokenEvent, TokenLogprob, TokenRequest } from "./core/engine.ts";
export type { ModelSpec, MoeSpec, RopeSpec, YarnSpec } from "./core/model/spec.ts";
export type { WeightPolicy } from "./core/model/matrix_source.ts";
export type { SamplingParams } from "./core/sampling/params.ts";
export type { ChatMessage, ChatTemplate } from "./core/text/chat_template.ts";
export type { TextTokenizer, TokenizerConfig } from "./core/text/tokenizer.ts";
export type { CacheDtype } from "./kernels/latent_cache/layout.ts";
export type { DeviceChoice } from "./kernels/providers.ts";
export type { LoadProgress } from "./workers/loader.ts";
export type { DocumentScore, GeneratedPiece, GenerateOptions } from "./core/text/text_engine.ts";
export { Engine, type EngineOptions } from "./workers/engine.ts";
