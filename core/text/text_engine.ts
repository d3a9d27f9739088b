/**
 * Text in, text out: what library users ask of a served model, whether one process or a cluster is behind it.
 *
 * @module
 */
import type { ServedModel } from "../engine.ts";
import { LatentmeshError } from "../errors.ts";
import { EventQueue } from "../event_queue.ts";
import { GREEDY, type SamplingParams } from "../sampling/params.ts";
import { type GeneratedPiece, generateText } from "./generate.ts";
import { checkGenerateOptions, type GenerateOptions } from "./generate_options.ts";

export type { GenerateOptions };

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
export async function* generatePieces(served: ServedModel, options: GenerateOptions): AsyncGenerator<GeneratedPiece> {
  checkGenerateOptions(options, served.vocabSize);
  const prompt = promptOf(served, options);
  const request = {
    prompt,
    maxTokens: options.maxTokens ?? served.engine.maxContext - prompt.length,
    sampling: { ...GREEDY, ...samplingOf(options) },
    choice: 0,
    stopTokens: new Set(options.ignoreEos ? [] : served.eosTokens),
    logprobs: options.logprobs ?? null,
    promptLogprobs: null,
    priority: options.priority,
    prediction: typeof options.prediction === "string" ? served.tokenizer.encode(options.prediction, { special: false }) : options.prediction,
    speculate: options.speculate === undefined ? undefined : options.speculate !== "off",
    signal: options.signal ?? new AbortController().signal,
  };
  yield* new EventQueue<GeneratedPiece>(
    request.signal,
    (signal, emit) =>
      generateText(served, { ...request, signal }, { stop: options.stop ?? [] }, (event) => {
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

function promptOf({ id, tokenizer, chatTemplate }: ServedModel, { prompt, messages }: GenerateOptions): readonly number[] {
  if ((prompt === undefined) === (messages === undefined)) {
    throw new LatentmeshError("invalid_request", "Give either prompt or messages", { param: "prompt" });
  }
  // A copy, as what is known of a prompt is known by its array, which the caller may change.
  if (prompt !== undefined) return typeof prompt === "string" ? tokenizer.encode(prompt, { special: true }) : [...prompt];
  if (chatTemplate === null) throw new LatentmeshError("invalid_request", `Model ${id} has no chat template; use prompt`, { param: "messages" });
  return tokenizer.encode(chatTemplate.render(messages!), { special: false });
}

function samplingOf(options: GenerateOptions): Partial<SamplingParams> {
  const keys = Object.keys(GREEDY) as (keyof SamplingParams)[];
  return Object.fromEntries(keys.filter((key) => options[key] !== undefined).map((key) => [key, options[key]]));
}
