/**
 * Does one job: parses a body, checks it, renders and tokenises.
 *
 * @module
 */
import { numberText, parseWithNumbers } from "../../core/text/json_numbers.ts";
import { answerForm } from "./answer_form.ts";
import { HttpError, noSuchModel } from "../api/errors.ts";
import {
  type ChatRequest,
  chatRequest,
  type CompletionRequest,
  completionRequest,
  DEFAULT_MAX_TOKENS,
  detokenizeRequest,
  tokenizeRequest,
} from "../api/openai_schema.ts";
import { continuationRequest } from "../api/continuation_schema.ts";
import { parseBody } from "../api/parse_body.ts";
import { countTokensRequest, messagesRequest } from "../api/messages_schema.ts";
import { conversationOfMessages, MESSAGES_FIELDS } from "./message_fields.ts";
import { conversationOf, referencesOf, RESPONSE_FIELDS, responseEcho, storesItems } from "./response_fields.ts";
import { leftOutWarning } from "./warnings.ts";
import { responsesRequest } from "../api/responses_schema.ts";
import { checkPrompt, encodeFitting } from "./check_prompt.ts";
import { predictionOf } from "./prediction.ts";
import type { LogitBias, PreparedChat, PreparedCompletion, PreparedContinuation, PreparedMessage, TextJobKind, TextJobs } from "./jobs.ts";
import type { TextModel } from "./text_model.ts";

/** Does a job. @throws {HttpError} if the request cannot be used */
export function prepare<K extends TextJobKind>(model: TextModel, kind: K, input: TextJobs[K]["input"]): TextJobs[K]["output"] {
  return JOBS[kind](model, input);
}

type Jobs = { readonly [K in TextJobKind]: (model: TextModel, input: TextJobs[K]["input"]) => TextJobs[K]["output"] };

const JOBS: Jobs = {
  chat: prepareChat,
  completion: prepareCompletion,
  response: prepareResponse,
  message: prepareMessage,
  continuation,
  messageTokens,
  tokenize,
  detokenize,
  encode,
};

function prepareChat(model: TextModel, body: Uint8Array<ArrayBuffer>): PreparedChat {
  const parsed = parseBody(chatRequest, parseJson(body, parseWithNumbers));
  const {
    messages,
    tools,
    tool_choice,
    response_format,
    parallel_tool_calls,
    add_generation_prompt,
    continue_final_message,
    reasoning_effort,
    chat_template_kwargs,
    logit_bias,
    prediction,
    ...request
  } = parsed;
  checkModel(model, request.model);
  checkNotStreamed(request);
  if (request.top_logprobs !== undefined && !request.logprobs) {
    throw new HttpError(400, `"top_logprobs" needs "logprobs": true`, { param: "top_logprobs", code: "invalid_value" });
  }
  const conversation = answerForm(model, {
    messages,
    tools,
    tool_choice,
    response_format,
    parallel_tool_calls,
    add_generation_prompt,
    continue_final_message,
    reasoning_effort,
    chat_template_kwargs,
  });
  const maxField = request.max_completion_tokens === undefined ? "max_tokens" : "max_completion_tokens";
  checkPrompt(model, conversation.prompt, { from: "messages", maxTokens: request[maxField], maxField });
  checkStopTokens(model, request.stop_token_ids);
  checkPromptLogprobs("prompt_logprobs", { tokens: conversation.prompt.length, wanted: request.prompt_logprobs, choices: 1 });
  checkLeast(request.min_tokens, request[maxField], conversation.grammar !== null);
  return {
    request: { ...request, seed: exactSeed(body, request.seed) },
    bias: biasOf(model, logit_bias),
    prediction: predictionOf(model, prediction),
    conversation,
  };
}

function prepareCompletion(model: TextModel, body: Uint8Array<ArrayBuffer>): PreparedCompletion {
  const { prompt, logit_bias, prediction, ...request } = parseBody(completionRequest, parseJson(body));
  checkModel(model, request.model);
  checkBestOf(request);
  checkNotStreamed(request);
  checkStopTokens(model, request.stop_token_ids);
  checkLeast(request.min_tokens, request.max_tokens ?? DEFAULT_MAX_TOKENS, false);
  const prompts = promptsOf(prompt).map((one) => {
    const tokens = typeof one === "string" ? encodeFitting(model, one, { special: true, from: "prompt" }) : one;
    checkPrompt(model, tokens, { from: "prompt", maxTokens: request.max_tokens });
    const text = typeof one === "string" ? one : model.tokenizer.decode(one, { skipSpecial: false });
    return { text: request.echo ? text : "", tokens: Uint32Array.from(tokens) };
  });
  const repeated = { tokens: prompts.reduce((sum, { tokens }) => sum + tokens.length, 0), choices: request.n ?? 1 };
  checkPromptLogprobs("prompt_logprobs", { ...repeated, wanted: request.prompt_logprobs });
  if (request.echo) checkPromptLogprobs("echo", { ...repeated, wanted: request.logprobs });
  return {
    request: { ...request, seed: exactSeed(body, request.seed) },
    bias: biasOf(model, logit_bias),
    prediction: predictionOf(model, prediction),
    prompts,
  };
}

/** Most log-probabilities of prompts in one answer: some hundred bytes each, in memory and on their way. */
const MOST_PROMPT_LOGPROBS = 1 << 20;

/**
 * @param wanted beside each token's own
 * @param choices that repeat them
 * @throws {HttpError} 400 if an answer would hold too many log-probabilities of prompts
 */
function checkPromptLogprobs(
  param: "prompt_logprobs" | "echo",
  { tokens, wanted, choices }: { readonly tokens: number; readonly wanted: number | undefined; readonly choices: number },
): void {
  if (wanted === undefined) return;
  const all = tokens * (1 + wanted) * choices;
  if (all <= MOST_PROMPT_LOGPROBS) return;
  const problem = `"${param}" asks for ${all} log-probabilities of prompts (${tokens} tokens, ${1 + wanted} for each, in ${choices} choices)`;
  throw new HttpError(400, `${problem}; the most are ${MOST_PROMPT_LOGPROBS}`, { param, code: "invalid_value" });
}

/** @throws {HttpError} 400 if log-probabilities of the prompt are to be streamed, for which there is no form */
function checkNotStreamed({ prompt_logprobs: wanted, stream }: Pick<ChatRequest, "prompt_logprobs" | "stream">): void {
  if (wanted === undefined || !stream) return;
  throw new HttpError(400, `"prompt_logprobs" cannot be streamed`, { param: "prompt_logprobs", code: "invalid_value" });
}

/** A seed with all of its digits, which numbers may not hold. */
function exactSeed(body: Uint8Array<ArrayBuffer>, seed: number | undefined): number | bigint | undefined {
  if (seed === undefined || Number.isSafeInteger(seed)) return seed;
  const text = numberText(parseWithNumbers(decodeUtf8(body)) as object, "seed") ?? "";
  return /^-?\d+$/.test(text) ? BigInt(text) : seed;
}

/** @throws {HttpError} 400 if `best_of` cannot be honoured */
function checkBestOf({ n = 1, best_of: bestOf = n, stream }: Pick<CompletionRequest, "n" | "best_of" | "stream">): void {
  const refuse = (problem: string) => new HttpError(400, `"best_of" ${problem}`, { param: "best_of", code: "invalid_value" });
  if (bestOf < n) throw refuse(`must be at least "n" (${n})`);
  if (bestOf > n && stream) throw refuse("cannot be streamed: the best choice is known only at the end");
}

function promptsOf(prompt: CompletionRequest["prompt"]): readonly (string | number[])[] {
  if (typeof prompt === "string") return [prompt];
  return typeof prompt[0] === "number" ? [prompt as number[]] : prompt as (string | number[])[];
}

function prepareResponse(model: TextModel, { body, kept }: TextJobs["response"]["input"]): TextJobs["response"]["output"] {
  const request = parseBody(responsesRequest, parseJson(body, parseWithNumbers));
  checkModel(model, request.model);
  const references = kept === null ? referencesOf(request) : [];
  if (references.length > 0) return { references };
  const { fields, namespaces, leftOut } = conversationOf(request, kept ?? {});
  const conversation = answerForm(model, fields, RESPONSE_FIELDS);
  const { temperature, top_p, priority, speculate, max_output_tokens, stream } = request;
  checkPrompt(model, conversation.prompt, { from: "input", maxTokens: max_output_tokens, maxField: "max_output_tokens" });
  return {
    request: { temperature, top_p, priority, speculate, max_output_tokens, stream },
    conversation,
    namespaces,
    echo: responseEcho(request, model.id),
    warning: leftOutWarning(leftOut),
    store: storesItems(request),
  };
}

function prepareMessage(model: TextModel, body: Uint8Array<ArrayBuffer>): PreparedMessage {
  const parsed = parseBody(messagesRequest, parseJson(body, parseWithNumbers));
  checkModel(model, parsed.model);
  if (parsed.thread?.type === "continue") {
    // Clients send the whole conversation when they are told so.
    throw new HttpError(404, "Nothing is kept here of earlier messages; send the whole conversation", { param: "thread", code: "thread_not_found" });
  }
  const { fields, leftOut } = conversationOfMessages(parsed);
  const conversation = answerForm(model, fields, MESSAGES_FIELDS);
  // Whatever is asked for, an answer ends where the context does, and says so.
  checkPrompt(model, conversation.prompt, { from: "messages", maxTokens: undefined });
  const { max_tokens, temperature, top_p, top_k, stop_sequences, stream, priority, speculate } = parsed;
  return {
    request: { max_tokens, temperature, top_p, top_k, stop_sequences, stream, priority, speculate },
    conversation,
    warning: leftOutWarning(leftOut),
  };
}

function continuation(model: TextModel, given: Uint8Array<ArrayBuffer>): PreparedContinuation {
  const { body, tokens, ...request } = parseBody(continuationRequest, parseJson(given));
  for (const some of tokens) checkTokens(model, some);
  return { ...request, body: new TextEncoder().encode(body), tokens: tokens.map((some) => Uint32Array.from(some)) };
}

function checkTokens(model: TextModel, tokens: readonly number[]): void {
  const outside = tokens.find((token) => token >= model.vocabSize);
  if (outside === undefined) return;
  throw new HttpError(400, `Token ${outside} is outside the vocabulary of ${model.vocabSize}`, { param: "tokens", code: "invalid_value" });
}

function messageTokens(model: TextModel, body: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const parsed = parseBody(countTokensRequest, parseJson(body, parseWithNumbers));
  checkModel(model, parsed.model);
  return json({ input_tokens: answerForm(model, conversationOfMessages(parsed).fields, MESSAGES_FIELDS).prompt.length });
}

function tokenize(model: TextModel, body: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const request = parseBody(tokenizeRequest, parseJson(body, parseWithNumbers));
  checkModel(model, request.model);
  const tokens = "messages" in request
    ? [...answerForm(model, request).prompt]
    : model.tokenizer.encode(request.prompt, { special: request.add_special_tokens ?? true });
  return json({ tokens, count: tokens.length, max_model_len: model.context.maxContext });
}

function detokenize(model: TextModel, body: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const request = parseBody(detokenizeRequest, parseJson(body));
  checkModel(model, request.model);
  checkTokens(model, request.tokens);
  return json({ prompt: model.tokenizer.decode(request.tokens, { skipSpecial: false }) });
}

function encode({ tokenizer }: TextModel, texts: readonly string[]): Uint32Array[] {
  return texts.map((text) => Uint32Array.from(tokenizer.encode(text, { special: true })));
}

/** @param parse for conversations, of whose tools templates print every number as it was written */
function parseJson(body: Uint8Array<ArrayBuffer>, parse: (text: string) => unknown = JSON.parse): unknown {
  if (body.length === 0) throw new HttpError(400, "The request body is empty; send a JSON object", { code: "invalid_json" });
  try {
    return parse(decodeUtf8(body));
  } catch (error) {
    if (error instanceof HttpError) throw error;
    throw new HttpError(400, "The request body is not JSON", { code: "invalid_json" });
  }
}

/** Bytes that are no text must not become another one than was sent. */
function decodeUtf8(body: Uint8Array<ArrayBuffer>): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch {
    throw new HttpError(400, "The request body is not UTF-8", { code: "invalid_json" });
  }
}

function json(value: unknown): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify(value));
}

/** @throws {HttpError} 404 if the request names another model */
function checkModel({ id }: TextModel, requested: string | undefined): void {
  if (requested === undefined || requested === id) return;
  throw noSuchModel(requested, `this server serves "${id}"`);
}

/** @throws {HttpError} 400 if one is no token */
function checkStopTokens(model: TextModel, tokens: readonly number[] = []): void {
  const outside = tokens.find((token) => token >= model.vocabSize);
  if (outside === undefined) return;
  throw new HttpError(400, `Token ${outside} is outside the vocabulary of ${model.vocabSize}`, { param: "stop_token_ids", code: "invalid_value" });
}

/** @param formed whether a grammar says when the answer ends @throws {HttpError} 400 if `min_tokens` cannot be honoured */
function checkLeast(least = 0, most: number | undefined, formed: boolean): void {
  const refuse = (problem: string) => new HttpError(400, `"min_tokens" ${problem}`, { param: "min_tokens", code: "invalid_value" });
  if (most !== undefined && least > most) throw refuse(`is ${least}, but ${most} tokens are the most`);
  if (least > 0 && formed) throw refuse("cannot be combined with tools or a form of the answer, which say when it ends");
}

function biasOf(model: TextModel, bias: ChatRequest["logit_bias"]): LogitBias | null {
  if (bias === undefined) return null;
  const names = Object.keys(bias);
  const outside = names.find((token) => Number(token) >= model.vocabSize);
  if (outside !== undefined) {
    throw new HttpError(400, `Token ${outside} is outside the vocabulary of ${model.vocabSize}`, {
      param: `logit_bias.${outside}`,
      code: "invalid_value",
    });
  }
  return { tokens: Uint32Array.from(names, Number), values: Float64Array.from(Object.values(bias)) };
}
