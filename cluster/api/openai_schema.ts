/**
 * Request bodies of the OpenAI-compatible endpoints. Whatever is not honoured is refused by name; ignored is only what cannot change an answer. `null` means "not given"
 * everywhere, and values that ask for what happens anyway are accepted.
 *
 * @module
 */
import { z } from "zod";
import { MOST_STOP_LENGTH } from "../../core/text/stop.ts";
import { message, reasoningEffort, responseFormat, templateVariables, tool, toolChoice } from "./conversation_schema.ts";
import { ignored, optional, priority, speculate, withoutEffect } from "./fields.ts";

/** Most tokens, stop strings and choices that one request may ask for. */
const MOST_STOPS_OF_OPENAI = 16;
const MOST_STOP_TOKENS = 128;
const MOST_CHOICES = 128;
const MOST_PROMPTS = 256;
const MOST_PARTS = 4096;
const MOST_TOOLS = 128;
const MOST_TOKENS = 2 ** 20;

/** Of completions, as OpenAI has it. */
export const DEFAULT_MAX_TOKENS = 16;

const tokenCount = z.int().min(0).max(2 ** 31);
/** Looked at in one go: long prompts have as many as there are, and a schema of each would take a hundred times as long. */
const tokenIds = z.custom<number[]>(
  (value) => Array.isArray(value) && value.length > 0 && value.length <= MOST_TOKENS && value.every(isTokenId),
  `must be a list of 1 to ${MOST_TOKENS} token ids`,
);

/** Bias by token id. (zod's records overlook `__proto__`.) */
const logitBias = z.custom<Readonly<Record<string, number>>>(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  "must be an object",
)
  .superRefine((bias, context) => {
    for (const [token, value] of Object.entries(bias)) {
      const message = !/^(?:0|[1-9]\d{0,9})$/.test(token)
        ? "keys must be token ids"
        : typeof value !== "number" || !(Math.abs(value) <= 100)
        ? "values must be numbers from -100 to 100"
        : null;
      if (message !== null) return context.addIssue({ code: "custom", message, path: [token] });
    }
  });

/** What may be one of several forms says which, also where one has too many elements or none. */
const PREDICTION = `must be a text, a list of 1 to ${MOST_PARTS} parts of type "text", or a list of 1 to ${MOST_TOKENS} token ids`;
const PROMPT = `must be a text, a list of 1 to ${MOST_TOKENS} token ids, or a list of 1 to ${MOST_PROMPTS} of either`;

const predictionPart = z.strictObject({ type: z.literal("text"), text: z.string() });

/** OpenAI's: what the answer may be like, as a text that is to be edited. */
const prediction = optional(z.strictObject({
  type: z.literal("content"),
  content: z.union([z.string(), tokenIds, z.array(predictionPart).min(1, PREDICTION).max(MOST_PARTS, PREDICTION)], PREDICTION),
}));

/** A prediction as it is given. */
export type Prediction = z.infer<typeof prediction>;

const sampling = {
  model: optional(z.string().max(1024)),
  temperature: optional(z.number().min(0).max(2)),
  top_p: optional(z.number().min(0).max(1)),
  top_k: optional(z.int().min(-1).max(2 ** 31)),
  min_p: optional(z.number().min(0).max(1)),
  presence_penalty: optional(z.number().min(-2).max(2)),
  frequency_penalty: optional(z.number().min(-2).max(2)),
  repetition_penalty: optional(z.number().min(0.01).max(10)),
  logit_bias: optional(logitBias),
  /** Up to 64 bits, of which numbers hold 53: see `exactSeed`. */
  seed: optional(z.number().min(-(2 ** 63)).max(2 ** 64).refine(Number.isInteger, "must be a whole number")),
  n: optional(z.int().min(1).max(MOST_CHOICES)),
  stop: optional(
    z.union([z.string().min(1).max(MOST_STOP_LENGTH), z.array(z.string().min(1).max(MOST_STOP_LENGTH)).max(MOST_STOPS_OF_OPENAI)]).transform((stop) =>
      [stop].flat()
    ),
  ),
  stream: optional(z.boolean()),
  stream_options: optional(z.strictObject({ include_usage: optional(z.boolean()), include_obfuscation: ignored })),
  ignore_eos: optional(z.boolean()),
  stop_token_ids: optional(z.array(z.int().min(0).max(2 ** 31)).max(MOST_STOP_TOKENS)),
  include_stop_str_in_output: optional(z.boolean()),
  min_tokens: optional(tokenCount),
  skip_special_tokens: optional(z.boolean()),
  prompt_logprobs: optional(z.int().min(0).max(20)),
  priority,
  speculate,
  prediction,
  return_token_ids: optional(z.boolean()),
  ...withoutEffect,
} as const;

/** What else the chat template is told, and where the prompt of a conversation ends. */
const promptFields = {
  reasoning_effort: optional(reasoningEffort),
  chat_template_kwargs: optional(templateVariables),
  add_generation_prompt: optional(z.boolean()),
  continue_final_message: optional(z.boolean()),
} as const;

/** Body of `POST /v1/chat/completions`. */
export const chatRequest = z.strictObject({
  ...sampling,
  messages: z.array(message).min(1).max(4096),
  max_tokens: optional(tokenCount.min(1)),
  max_completion_tokens: optional(tokenCount.min(1)),
  logprobs: optional(z.boolean()),
  top_logprobs: optional(z.int().min(0).max(20)),
  response_format: optional(responseFormat),
  tools: optional(z.array(tool).max(MOST_TOOLS)),
  tool_choice: optional(toolChoice),
  parallel_tool_calls: optional(z.boolean()),
  ...promptFields,
  modalities: optional(z.tuple([z.literal("text")])),
});

/** Body of `POST /v1/completions`. */
export const completionRequest = z.strictObject({
  ...sampling,
  prompt: z.union([
    z.string(),
    tokenIds,
    z.array(z.string()).min(1, PROMPT).max(MOST_PROMPTS, PROMPT),
    z.array(tokenIds).min(1, PROMPT).max(MOST_PROMPTS, PROMPT),
  ], PROMPT),
  max_tokens: optional(tokenCount),
  logprobs: optional(z.int().min(0).max(20)),
  echo: optional(z.boolean()),
  best_of: optional(z.int().min(1).max(MOST_CHOICES)),
});

/** Body of `POST /tokenize`: a text or a conversation. */
export const tokenizeRequest = z.union([
  z.strictObject({ model: optional(z.string()), prompt: z.string(), add_special_tokens: optional(z.boolean()) }),
  z.strictObject({
    model: optional(z.string()),
    messages: z.array(message).min(1).max(4096),
    tools: optional(z.array(tool).max(MOST_TOOLS)),
    ...promptFields,
  }),
]);

/** Body of `POST /detokenize`. */
export const detokenizeRequest = z.strictObject({
  model: optional(z.string()),
  tokens: z.union([tokenIds, z.tuple([])], `must be a list of at most ${MOST_TOKENS} token ids`),
});

function isTokenId(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 2 ** 31;
}

/** Parsed bodies. */
type ExactSeed<R extends { readonly seed: unknown }> = Omit<R, "seed"> & { readonly seed: number | bigint | undefined };
export type ChatRequest = ExactSeed<z.output<typeof chatRequest>>;
export type CompletionRequest = ExactSeed<z.output<typeof completionRequest>>;

/** Fields both kinds of request share. */
export type SamplingFields = Omit<Pick<ChatRequest, keyof typeof sampling>, "logit_bias">;
