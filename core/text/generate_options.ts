/**
 * What users of the library ask for, checked: JavaScript has no types, and an engine trusts its requests.
 *
 * @module
 */
import { z } from "zod";
import { checkOptions } from "../check_options.ts";
import { LatentmeshError } from "../errors.ts";
import { type Speculation, SPECULATIONS } from "../speculation/speculation.ts";
import type { ChatMessage } from "./chat_message.ts";
import { MOST_STOP_LENGTH, MOST_STOPS } from "./stop.ts";
import type { SamplingParams } from "../sampling/params.ts";

/** What to generate: a prompt (text or tokens) or a conversation. */
export interface GenerateOptions extends Partial<SamplingParams> {
  /** A text, or its tokens. */
  readonly prompt?: string | readonly number[];
  /** A conversation, for the chat template. */
  readonly messages?: readonly ChatMessage[];
  /** Default: as many as the context holds. */
  readonly maxTokens?: number;
  /** Texts that end the generation, at most 64 of at most 1024 characters; they are left out. */
  readonly stop?: readonly string[];
  /** Alternatives to report with each token's log-probability; null (default): no log-probabilities. */
  readonly logprobs?: number | null;
  /** Do not stop at the model's end-of-sequence tokens. */
  readonly ignoreEos?: boolean;
  /** Generations with a smaller number are served before others; default: 0. */
  readonly priority?: number;
  /** Whether tokens are guessed and verified several at a time, which changes none of them; default: as the engine is set. */
  readonly speculate?: Speculation;
  /** What the answer may be like, apart from some changes, as a text that is to be edited: its tokens, where they come again, come several at a time. */
  readonly prediction?: string | readonly number[];
  /** Aborts the generation. */
  readonly signal?: AbortSignal;
}

/** Texts and tokens are looked at below. */
const schema = z.strictObject(
  {
    prompt: z.unknown(),
    messages: z.array(z.looseObject({ role: z.string(), content: z.string().nullable().optional() })).min(1),
    maxTokens: z.int().min(0),
    stop: z.array(z.string().min(1).max(MOST_STOP_LENGTH)).max(MOST_STOPS),
    logprobs: z.int().min(0).nullable(),
    ignoreEos: z.boolean(),
    priority: z.int(),
    speculate: z.enum(SPECULATIONS),
    prediction: z.unknown(),
    signal: z.instanceof(AbortSignal),
    temperature: z.number().min(0),
    topP: z.number().min(0).max(1),
    topK: z.int().min(0),
    minP: z.number().min(0).max(1),
    presencePenalty: z.number(),
    frequencyPenalty: z.number(),
    repetitionPenalty: z.number().positive(),
    logitBias: z.instanceof(Map),
    seed: z.union([z.number().refine(Number.isInteger, "must be a whole number"), z.bigint()]),
  } satisfies Record<keyof GenerateOptions, z.ZodType>,
).partial();

/**
 * @param vocabSize number of token ids
 * @throws {LatentmeshError} `invalid_request` that names the option
 */
export function checkGenerateOptions(options: GenerateOptions, vocabSize: number): void {
  checkOptions(schema, options, { of: "generate", code: "invalid_request" });
  for (const name of ["prompt", "prediction"] as const) checkTokens(name, options[name], vocabSize);
}

function checkTokens(name: string, tokens: string | readonly number[] | undefined, vocabSize: number): void {
  if (tokens === undefined || typeof tokens === "string") return;
  if (!Array.isArray(tokens)) refuse(name, "expected a text or a list of tokens");
  const wrong = tokens.findIndex((token) => !(Number.isInteger(token) && token >= 0 && token < vocabSize));
  if (wrong >= 0) refuse(name, `${tokens[wrong]}, number ${wrong} of it, is no token of a vocabulary of ${vocabSize}`);
}

function refuse(param: string, problem: string): never {
  throw new LatentmeshError("invalid_request", `Cannot use ${param}: ${problem}`, { param });
}
