/**
 * Text in, text out: what library users ask of a served model, whether one process or a cluster is behind it.
 *
 * @module
 */
import { z } from "zod";
import { checkOptions } from "../check_options.ts";
import type { ServedModel, TokenConstraint } from "../engine.ts";
import { LatentmeshError } from "../errors.ts";
import { EventQueue } from "../event_queue.ts";
import { GREEDY, type SamplingParams } from "../sampling/params.ts";
import { type GeneratedPiece, generateText } from "./generate.ts";
import { checkGenerateOptions, type GenerateOptions } from "./generate_options.ts";

export type { GenerateOptions };

/** What an answer is held to. */
export interface AnswerLimits {
  readonly constraint?: TokenConstraint;
  /** Special tokens that are part of the text. */
  readonly kept?: ReadonlySet<number>;
}

/** Negative log-likelihood of one document. */
export interface DocumentScore {
  /** Tokens predicted: all but the first. */
  readonly tokens: number;
  /** Σ −ln p(token | tokens before it), in nats. */
  readonly nll: number;
}

/**
 * Generates text. Greedy unless a temperature is given. Leaving the iteration or aborting `signal` stops the generation.
 *
 * @throws {LatentmeshError} `invalid_request` if the options cannot be used, `cancelled` when aborted
 */
export async function* generatePieces(
  served: ServedModel,
  options: GenerateOptions,
  { constraint, kept }: AnswerLimits = {},
): AsyncGenerator<GeneratedPiece> {
  checkGenerateOptions(options, served.vocabSize);
  const prompt = promptOf(served, options);
  // Where a grammar ends, nothing but the end may come: it is not optional.
  const endless = options.ignoreEos === true && constraint === undefined;
  const request = {
    prompt,
    maxTokens: options.maxTokens ?? served.engine.maxContext - prompt.length,
    sampling: { ...GREEDY, ...samplingOf(options) },
    choice: 0,
    stopTokens: new Set(endless ? [] : served.eosTokens),
    logprobs: options.logprobs ?? null,
    promptLogprobs: null,
    constraint,
    priority: options.priority,
    prediction: predictionOf(served, options),
    speculate: options.speculate,
    signal: options.signal ?? new AbortController().signal,
  };
  yield* new EventQueue<GeneratedPiece>(
    request.signal,
    (signal, emit) =>
      generateText(served, { ...request, signal }, { stop: [...options.stop ?? []], kept }, (event) => {
        if (event.kind !== "piece") return;
        const { kind: _, ...piece } = event;
        emit(piece);
      }),
  );
}

/**
 * Scores the first `limitTokens` tokens of a text, each given BOS and the tokens before it.
 *
 * @throws {LatentmeshError} `invalid_request` if the limit exceeds the context
 */
export async function scoreDocument(
  { engine, tokenizer }: ServedModel,
  text: string,
  options: { readonly limitTokens: number; readonly signal?: AbortSignal },
): Promise<DocumentScore> {
  checkOptions(scoreOptions, { text, ...options }, { of: "score", code: "invalid_request" });
  const tokens = tokenizer.withBos(tokenizer.encode(text, { special: true }));
  const prompt = tokens.slice(0, options.limitTokens + (tokens[0] === tokenizer.bosToken ? 1 : 0));
  const signal = options.signal ?? new AbortController().signal;
  const request = { prompt, maxTokens: 0, sampling: GREEDY, choice: 0, stopTokens: new Set<number>(), logprobs: null, promptLogprobs: 0, signal };
  let nll = 0;
  await engine.generate(request, (event) => {
    if (event.kind === "prompt") { for (const token of event.logprobs) nll -= token?.logprob ?? 0; }
  });
  return { tokens: Math.max(0, prompt.length - 1), nll };
}

const scoreOptions = z.strictObject({ text: z.string(), limitTokens: z.int().min(1), signal: z.instanceof(AbortSignal).optional() });

function promptOf({ id, tokenizer, chatTemplate }: ServedModel, { prompt, messages }: GenerateOptions): readonly number[] {
  if ((prompt === undefined) === (messages === undefined)) {
    throw new LatentmeshError("invalid_request", "Give either prompt or messages", { param: "prompt" });
  }
  // A copy, as what is known of a prompt is known by its array, which the caller may change.
  if (prompt !== undefined) return typeof prompt === "string" ? tokenizer.encode(prompt, { special: true }) : [...prompt];
  if (chatTemplate === null) throw new LatentmeshError("invalid_request", `Model ${id} has no chat template; use prompt`, { param: "messages" });
  return tokenizer.encode(chatTemplate.render(messages!), { special: false });
}

function predictionOf({ tokenizer }: ServedModel, { prediction }: GenerateOptions): readonly number[] | undefined {
  if (typeof prediction === "string") return tokenizer.encode(prediction, { special: false });
  return prediction === undefined ? undefined : [...prediction];
}

function samplingOf(options: GenerateOptions): Partial<SamplingParams> {
  const keys = Object.keys(GREEDY) as (keyof SamplingParams)[];
  const given: Partial<SamplingParams> = Object.fromEntries(keys.filter((key) => options[key] !== undefined).map((key) => [key, options[key]]));
  // The caller may change its own while tokens are drawn.
  return given.logitBias === undefined ? given : { ...given, logitBias: new Map(given.logitBias) };
}
