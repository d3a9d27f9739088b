/**
 * `POST /v1/chat/completions`.
 *
 * @module
 */
import type { Context } from "hono";
import type { FinishReason, TokenRequest } from "../../../core/engine.ts";
import type { AnswerParser } from "../../../core/text/answers/answer_parser.ts";
import type { TextOptions } from "../../../core/text/generate.ts";
import type { PreparedChat, PreparedConversation } from "../../text/jobs.ts";
import { answerParser, keptTokens } from "../../text/answer_form.ts";
import { collectChoices, runChoices, UsageMeter } from "../answers/choices.ts";
import { AnswerSum, partsOf } from "../../text/answer_sum.ts";
import { assistantMessage, deltasOf } from "./chat_message.ts";
import { jsonResponse } from "../json.ts";
import { chatLogprobs, promptLogprobs, wholeChatLogprobs } from "./logprobs.ts";
import { prepared } from "../answers/prepared.ts";
import { tokenRequests } from "../answers/requests.ts";
import { type AppEnv, ConstrainedRequests, type ServerContext } from "../server_context.ts";
import { Slices } from "../../../core/slices.ts";
import { RequestAbort, streamEvents } from "../sse.ts";

/** Handles one request. */
export async function handleChat(c: Context<AppEnv>, server: ServerContext): Promise<Response> {
  const { model } = server;
  const { request, bias, prediction, conversation } = await prepared(c, server, "chat");
  const abort = new RequestAbort(c, server.shutdown);
  const constrained = await ConstrainedRequests.create(
    server,
    tokenRequests(model, request, {
      prompt: conversation.prompt,
      bias,
      prediction,
      maxTokens: request.max_completion_tokens ?? request.max_tokens,
      logprobs: logprobsOf(request),
      promptLogprobs: request.prompt_logprobs ?? null,
      client: c.get("client"),
      signal: abort.signal,
    }),
    conversation.grammar,
  );
  const work: ChatWork = {
    server,
    request,
    conversation,
    constrained,
    base: { id: `chatcmpl-${c.get("names").nextUuid()}`, created: c.get("names").created, model: model.id },
    text: {
      stop: request.stop ?? [],
      includeStop: request.include_stop_str_in_output,
      kept: request.skip_special_tokens === false ? "all" : keptTokens(model),
    },
  };
  return request.stream ? streamEvents(abort, (send) => sendChunks(work, abort, send)) : jsonResponse(await whole(work, abort));
}

/** A chat that is being answered. */
interface ChatWork {
  readonly server: ServerContext;
  readonly request: PreparedChat["request"];
  readonly conversation: PreparedConversation;
  readonly constrained: ConstrainedRequests;
  readonly base: object;
  readonly text: TextOptions;
}

async function whole({ server: { model }, request, conversation, constrained, base, text }: ChatWork, abort: RequestAbort): Promise<object> {
  using _ = constrained;
  const { requests } = constrained;
  const meter = meterOf(requests);
  const parsers = requests.map(() => answerParser(model, conversation));
  const sums = parsers.map((parser) => new AnswerSum(parser));
  const choices = await collectChoices(model, requests, text, abort, (index, event) => {
    meter.see(index, event);
    if (event.kind === "piece") sums[index].take(event);
  });
  const slices = new Slices();
  const answers: object[] = [];
  const { prompt_logprobs: most } = request;
  for (const [index, choice] of choices.entries()) {
    answers.push({
      index,
      message: assistantMessage(sums[index]),
      logprobs: requests[0].logprobs === null ? null : await wholeChatLogprobs(model.tokenizer, choice.logprobs, slices),
      finish_reason: finishReason(parsers[index], choice.finishReason),
      ...(request.return_token_ids ? { token_ids: choice.tokens } : {}),
    });
  }
  return {
    ...base,
    object: "chat.completion",
    choices: answers,
    usage: meter.usageWith(reasoningOf(parsers)),
    ...most === undefined
      ? {}
      : { prompt_logprobs: await promptLogprobs(model.tokenizer, requests[0].prompt, choices[0].promptLogprobs, { most, slices }) },
    ...(request.return_token_ids ? { prompt_token_ids: requests[0].prompt } : {}),
  };
}

async function sendChunks(
  { server: { model }, request, conversation, constrained, base, text }: ChatWork,
  abort: RequestAbort,
  send: (chunk: unknown) => void,
): Promise<void> {
  using _ = constrained;
  const { requests } = constrained;
  const { logprobs, prompt } = requests[0];
  const withUsage = request.stream_options?.include_usage ?? false;
  const chunk = (choices: readonly unknown[], more: object = {}) => ({
    ...base,
    object: "chat.completion.chunk",
    choices,
    ...(withUsage ? { usage: null } : {}),
    ...more,
  });
  for (const index of requests.keys()) {
    const choice = { index, delta: { role: "assistant", content: "" }, logprobs: null, finish_reason: null };
    send(chunk([choice], request.return_token_ids ? { prompt_token_ids: prompt } : {}));
  }
  const parsers = requests.map(() => answerParser(model, conversation));
  const meter = meterOf(requests);
  await runChoices(model, requests, text, abort, (index, event) => {
    meter.see(index, event);
    if (event.kind !== "piece") return;
    const parser = parsers[index];
    const ended = event.finishReason !== null;
    const parts = partsOf(parser, event);
    // What is held back because it may be a marker needs no event, unless somebody counts tokens.
    if (parts.length === 0 && !ended && logprobs === null && !request.return_token_ids) return;
    const [first, ...more] = deltasOf(parts);
    const last = event.finishReason === null ? null : finishReason(parser, event.finishReason);
    send(chunk([{
      index,
      delta: first,
      logprobs: logprobs === null ? null : chatLogprobs(model.tokenizer, event.logprobs),
      finish_reason: more.length === 0 ? last : null,
      ...(request.return_token_ids ? { token_ids: event.tokens } : {}),
    }]));
    for (const [i, delta] of more.entries()) {
      send(chunk([{ index, delta, logprobs: null, finish_reason: i === more.length - 1 ? last : null }]));
    }
  });
  if (withUsage) send(chunk([], { usage: meter.usageWith(reasoningOf(parsers)) }));
}

function finishReason(parser: AnswerParser, reason: FinishReason): string {
  return reason === "stop" && parser.called && !parser.cut ? "tool_calls" : reason;
}

function reasoningOf(parsers: readonly AnswerParser[]): number {
  return parsers.reduce((sum, { reasoningTokens }) => sum + reasoningTokens, 0);
}

function meterOf(requests: readonly TokenRequest[]): UsageMeter {
  return new UsageMeter({ promptTokens: requests[0].prompt.length, choicesPerPrompt: requests.length });
}

function logprobsOf({ logprobs, top_logprobs: top }: PreparedChat["request"]): number | null {
  return logprobs ? top ?? 0 : null;
}
