/**
 * What users of the library ask for, checked: JavaScript has no types, and an engine trusts its requests.
 *
 * @module
 */
import { z } from "zod";
import { LatentmeshError } from "../errors.ts";
import { problemOf } from "../expected.ts";
import { suggest } from "../suggest.ts";
import type { ChatMessage } from "./chat_message.ts";
import type { SamplingParams } from "../sampling/params.ts";

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
  /** Generations with a smaller number are served before others; default: 0. */
  readonly priority?: number;
  /** Aborts the generation. */
  readonly signal?: AbortSignal;
}

/** Prompts and conversations are looked at where they are encoded. */
const schema = z.strictObject(
  {
    prompt: z.unknown(),
    messages: z.unknown(),
    maxTokens: z.int().min(0),
    stop: z.array(z.string().min(1)),
    logprobs: z.int().min(0).nullable(),
    ignoreEos: z.boolean(),
    priority: z.int(),
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
  const parsed = schema.safeParse(options);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    if (issue.code !== "unrecognized_keys") refuse(issue.path.join("."), problemOf(schema, issue, options));
    const meant = suggest(issue.keys[0], Object.keys(schema.shape));
    refuse(issue.keys[0], `there is no such option${meant === null ? "" : `; did you mean ${meant}?`}`);
  }
  const { prompt } = options;
  if (prompt === undefined || typeof prompt === "string") return;
  if (!Array.isArray(prompt)) refuse("prompt", "expected a text or a list of tokens");
  const wrong = prompt.findIndex((token) => !(Number.isInteger(token) && token >= 0 && token < vocabSize));
  if (wrong >= 0) refuse("prompt", `${prompt[wrong]}, number ${wrong} of it, is no token of a vocabulary of ${vocabSize}`);
}

function refuse(param: string, problem: string): never {
  throw new LatentmeshError("invalid_request", `Cannot use ${param}: ${problem}`, { param });
}
