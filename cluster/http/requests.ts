/**
 * From a parsed body to token requests: sampling parameters, limits and the checks that need the model.
 *
 * @module
 */
import { contextLimit } from "../../core/context_limit.ts";
import type { ServedModel, TokenRequest } from "../../core/engine.ts";
import { GREEDY, type SamplingParams } from "../../core/sampling/params.ts";
import { HttpError } from "./errors.ts";
import type { SamplingFields } from "./openai_schema.ts";

/** OpenAI's default where neither request nor model says otherwise. */
const DEFAULT_TEMPERATURE = 1;

/** What one prompt of a request asks for, apart from its choices. */
export interface PromptOptions {
  readonly prompt: readonly number[];
  readonly maxTokens: number | undefined;
  readonly logprobs: number | null;
  readonly promptLogprobs: number | null;
  /** Whose request it is. */
  readonly client: string;
  /** Choices to generate; default: `n`. */
  readonly choices?: number;
  readonly signal: AbortSignal;
}

/** @throws {HttpError} 404 if the request names another model */
export function checkModel(model: ServedModel, requested: string | undefined): void {
  if (requested !== undefined && requested !== model.id) {
    throw new HttpError(404, `The model "${requested}" does not exist; this server serves "${model.id}"`, {
      param: "model",
      code: "model_not_found",
    });
  }
}

/** The token request of every choice of one prompt. @throws {HttpError} 400 if it does not fit the model */
export function tokenRequests(model: ServedModel, fields: Partial<SamplingFields>, options: PromptOptions): TokenRequest[] {
  const { prompt, client, signal } = options;
  const { engine } = model;
  if (prompt.length === 0) throw new HttpError(400, "The prompt is empty", { param: "prompt", code: "invalid_value" });
  const outside = prompt.find((token) => token >= model.vocabSize);
  if (outside !== undefined) {
    throw new HttpError(400, `Token ${outside} is outside the vocabulary of ${model.vocabSize}`, { param: "prompt", code: "invalid_value" });
  }
  const maxTokens = options.maxTokens ?? Math.max(1, engine.maxContext - prompt.length);
  const wanted = prompt.length + maxTokens;
  if (wanted > engine.maxContext) {
    const problem = `${wanted} tokens were asked for (${prompt.length} in the prompt, ${maxTokens} to generate); ${contextLimit(wanted, engine)}`;
    throw new HttpError(400, problem, { param: options.maxTokens === undefined ? "prompt" : "max_tokens", code: "context_length_exceeded" });
  }
  const sampling = samplingParams(model, fields);
  const stopTokens = new Set(fields.ignore_eos ? [] : model.eosTokens);
  return Array.from({ length: options.choices ?? fields.n ?? 1 }, (_, choice): TokenRequest => ({
    prompt,
    maxTokens,
    sampling,
    choice,
    stopTokens,
    logprobs: options.logprobs,
    promptLogprobs: choice === 0 ? options.promptLogprobs : null,
    client,
    signal,
  }));
}

function samplingParams(model: ServedModel, fields: Partial<SamplingFields>): SamplingParams {
  const defaults = model.samplingDefaults;
  const topK = fields.top_k ?? defaults.topK ?? 0;
  return {
    temperature: fields.temperature ?? defaults.temperature ?? DEFAULT_TEMPERATURE,
    topP: fields.top_p ?? defaults.topP ?? GREEDY.topP,
    topK: topK < 0 || topK >= model.vocabSize ? 0 : topK,
    minP: fields.min_p ?? GREEDY.minP,
    presencePenalty: fields.presence_penalty ?? 0,
    frequencyPenalty: fields.frequency_penalty ?? 0,
    repetitionPenalty: fields.repetition_penalty ?? defaults.repetitionPenalty ?? 1,
    logitBias: logitBias(model, fields.logit_bias ?? {}),
    seed: fields.seed ?? crypto.getRandomValues(new Uint32Array(1))[0],
  };
}

function logitBias(model: ServedModel, bias: Readonly<Record<string, number>>): ReadonlyMap<number, number> {
  const entries = Object.entries(bias).map(([token, value]): [number, number] => [Number(token), value]);
  const outside = entries.find(([token]) => token >= model.vocabSize);
  if (outside !== undefined) {
    throw new HttpError(400, `Token ${outside[0]} is outside the vocabulary of ${model.vocabSize}`, {
      param: `logit_bias.${outside[0]}`,
      code: "invalid_value",
    });
  }
  return new Map(entries);
}
