/**
 * `POST /v1/chat/completions`.
 *
 * @module
 */
import type { Context } from "hono";
import type { FinishReason, TokenRequest } from "../../core/engine.ts";
import type { AnswerParser } from "../../core/text/answers/answer_parser.ts";
import { type AnswerForm, answerForm } from "./answer_form.ts";
import { collectChoices, runChoices, UsageMeter } from "./choices.ts";
import { deltaOf, messageOf } from "./chat_message.ts";
import { HttpError } from "./errors.ts";
import { chatLogprobs } from "./logprobs.ts";
import { type ChatRequest, chatRequest, parseBody } from "./openai_schema.ts";
import { checkModel, tokenRequests } from "./requests.ts";
import { type AppEnv, ConstrainedRequests, type ServerContext } from "./server_context.ts";
import { RequestAbort, streamEvents } from "./sse.ts";

/** Handles one request. */
export async function handleChat(c: Context<AppEnv>, server: ServerContext, body: unknown): Promise<Response> {
  const { model } = server;
  const request = parseBody(chatRequest, body);
  checkModel(model, request.model);
  const abort = new RequestAbort(c, server.shutdown);
  const form = await answerForm(server, request);
  const constrained = await ConstrainedRequests.create(
    server,
    tokenRequests(model, request, {
      prompt: form.prompt,
      maxTokens: request.max_completion_tokens ?? request.max_tokens,
      logprobs: logprobsOf(request),
      promptLogprobs: null,
      client: c.get("client"),
      signal: abort.signal,
    }),
    form.grammar,
  );
  const base = { id: `chatcmpl-${crypto.randomUUID()}`, created: Math.floor(Date.now() / 1000), model: model.id };
  if (request.stream) return streamEvents(abort, (send) => sendChunks(server, request, form, constrained, base, abort, send));

  using _ = constrained;
  const { requests } = constrained;
  const meter = meterOf(requests);
  const choices = await collectChoices(model, requests, textOptions(request, form), abort, meter);
  return c.json({
    ...base,
    object: "chat.completion",
    choices: choices.map((choice, index) => {
      const parser = form.parser();
      const parts = [...parser.push(choice.text), ...parser.finish()];
      return {
        index,
        message: messageOf(parts),
        logprobs: requests[0].logprobs === null ? null : chatLogprobs(model.tokenizer, choice.logprobs),
        finish_reason: finishReason(parser, choice.finishReason),
        ...(request.return_token_ids ? { token_ids: choice.tokens } : {}),
      };
    }),
    usage: meter.usage,
    ...(request.return_token_ids ? { prompt_token_ids: form.prompt } : {}),
  });
}

async function sendChunks(
  { model }: ServerContext,
  request: ChatRequest,
  form: AnswerForm,
  constrained: ConstrainedRequests,
  base: object,
  abort: RequestAbort,
  send: (chunk: unknown) => void,
): Promise<void> {
  using _ = constrained;
  const { requests } = constrained;
  const { logprobs } = requests[0];
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
    send(chunk([choice], request.return_token_ids ? { prompt_token_ids: form.prompt } : {}));
  }
  const parsers = requests.map(() => form.parser());
  const meter = meterOf(requests);
  await runChoices(model, requests, textOptions(request, form), abort, (index, event) => {
    meter.see(index, event);
    if (event.kind !== "piece") return;
    const parser = parsers[index];
    const ended = event.finishReason !== null;
    const parts = [...parser.push(event.text), ...(ended ? parser.finish() : [])];
    // What is held back because it may be a marker needs no event, unless somebody counts tokens.
    if (parts.length === 0 && !ended && logprobs === null && !request.return_token_ids) return;
    send(chunk([{
      index,
      delta: deltaOf(parts),
      logprobs: logprobs === null ? null : chatLogprobs(model.tokenizer, event.logprobs),
      finish_reason: event.finishReason === null ? null : finishReason(parser, event.finishReason),
      ...(request.return_token_ids ? { token_ids: event.tokens } : {}),
    }]));
  });
  if (withUsage) send(chunk([], { usage: meter.usage }));
}

function textOptions(request: ChatRequest, form: AnswerForm) {
  return { stop: request.stop ?? [], kept: form.kept };
}

function finishReason(parser: AnswerParser, reason: FinishReason): string {
  return reason === "stop" && parser.called && !parser.cut ? "tool_calls" : reason;
}

function meterOf(requests: readonly TokenRequest[]): UsageMeter {
  return new UsageMeter({ promptTokens: requests[0].prompt.length, choicesPerPrompt: requests.length });
}

function logprobsOf({ logprobs, top_logprobs: top }: ChatRequest): number | null {
  if (top !== undefined && !logprobs) {
    throw new HttpError(400, `"top_logprobs" needs "logprobs": true`, { param: "top_logprobs", code: "invalid_value" });
  }
  return logprobs ? top ?? 0 : null;
}
