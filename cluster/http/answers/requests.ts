/**
 * From a prepared request to token requests: sampling parameters and limits.
 *
 * @module
 */
import type { ServedModel, TokenRequest } from "../../../core/engine.ts";
import { GREEDY, type SamplingParams } from "../../../core/sampling/params.ts";
import type { LogitBias } from "../../text/jobs.ts";
import type { SamplingFields } from "../../api/openai_schema.ts";
import { LeastTokens } from "./least_tokens.ts";

/** OpenAI's default where neither request nor model says otherwise. */
const DEFAULT_TEMPERATURE = 1;

/** What one prompt of a request asks for, apart from its choices. */
export interface PromptOptions {
  /** Checked already, see `cluster/text/check_prompt.ts`. */
  readonly prompt: Uint32Array;
  readonly bias: LogitBias | null;
  /** Tokens that the answer may be like; default: nothing is expected. */
  readonly prediction?: Uint32Array | null;
  readonly maxTokens: number | undefined;
  readonly logprobs: number | null;
  readonly promptLogprobs: number | null;
  /** Whose request it is. */
  readonly client: string;
  /** Choices to generate; default: `n`. */
  readonly choices?: number;
  readonly signal: AbortSignal;
}

/** The token request of every choice of one prompt. */
export function tokenRequests(model: ServedModel, fields: Partial<SamplingFields>, options: PromptOptions): TokenRequest[] {
  const { bias, client, signal } = options;
  const prompt = listOf(options.prompt);
  const prediction = options.prediction == null ? undefined : listOf(options.prediction);
  const maxTokens = options.maxTokens ?? Math.max(1, model.engine.maxContext - prompt.length);
  const sampling = samplingParams(model, fields, bias);
  const stopTokens = new Set([...fields.ignore_eos ? [] : model.eosTokens, ...fields.stop_token_ids ?? []]);
  const least = fields.min_tokens ?? 0;
  return Array.from({ length: options.choices ?? fields.n ?? 1 }, (_, choice): TokenRequest => ({
    prompt,
    maxTokens,
    sampling,
    choice,
    stopTokens,
    logprobs: options.logprobs,
    promptLogprobs: choice === 0 ? options.promptLogprobs : null,
    constraint: least > 0 ? new LeastTokens(least, model.vocabSize, stopTokens) : undefined,
    client,
    priority: fields.priority,
    prediction,
    speculate: fields.speculate,
    signal,
  }));
}

/** The same numbers as a list; ten times as quick as iterating over them. */
export function listOf(numbers: Uint32Array): number[] {
  const list = new Array<number>(numbers.length);
  for (let i = 0; i < numbers.length; i++) list[i] = numbers[i];
  return list;
}

function samplingParams(model: ServedModel, fields: Partial<SamplingFields>, bias: LogitBias | null): SamplingParams {
  const defaults = model.samplingDefaults;
  // No nucleus at all still holds the best token.
  const topK = fields.top_p === 0 ? 1 : fields.top_k ?? defaults.topK ?? 0;
  return {
    temperature: fields.temperature ?? defaults.temperature ?? DEFAULT_TEMPERATURE,
    topP: fields.top_p === 0 ? 1 : fields.top_p ?? defaults.topP ?? GREEDY.topP,
    topK: topK < 0 || topK >= model.vocabSize ? 0 : topK,
    minP: fields.min_p ?? GREEDY.minP,
    presencePenalty: fields.presence_penalty ?? 0,
    frequencyPenalty: fields.frequency_penalty ?? 0,
    repetitionPenalty: fields.repetition_penalty ?? defaults.repetitionPenalty ?? 1,
    logitBias: biasMap(bias),
    seed: fields.seed ?? crypto.getRandomValues(new Uint32Array(1))[0],
  };
}

function biasMap(bias: LogitBias | null): ReadonlyMap<number, number> {
  const map = new Map<number, number>();
  bias?.tokens.forEach((token, i) => map.set(token, bias.values[i]));
  return map;
}
