/**
 * `POST /v1/chat/completions`.
 *
 * @module
 */
import type { Context } from "hono";
import type { ServedModel, TokenRequest } from "../../core/engine.ts";
import { collectChoices, runChoices, UsageMeter } from "./choices.ts";
import { HttpError } from "./errors.ts";
import { chatLogprobs } from "./logprobs.ts";
import { type ChatRequest, chatRequest, parseBody } from "./openai_schema.ts";
import { checkModel, tokenRequests } from "./requests.ts";
import { RequestAbort, streamEvents } from "./sse.ts";

/** Handles one request. */
export async function handleChat(c: Context, model: ServedModel, body: unknown, shutdown: AbortSignal): Promise<Response> {
  const request = parseBody(chatRequest, body);
  checkModel(model, request.model);
  const abort = new RequestAbort(c, shutdown);
  const requests = tokenRequests(model, request, {
    prompt: promptOf(model, request),
    maxTokens: request.max_completion_tokens ?? request.max_tokens,
    logprobs: logprobsOf(request),
    promptLogprobs: null,
    signal: abort.signal,
  });
  const base = { id: `chatcmpl-${crypto.randomUUID()}`, created: Math.floor(Date.now() / 1000), model: model.id };
  if (request.stream) return streamEvents(abort, chunks(model, request, requests, base, abort));

  const meter = meterOf(requests);
  const choices = await collectChoices(model, requests, request.stop ?? [], abort, meter);
  const { prompt } = requests[0];
  return c.json({
    ...base,
    object: "chat.completion",
    choices: choices.map((choice, index) => ({
      index,
      message: { role: "assistant", content: choice.text, refusal: null },
      logprobs: requests[0].logprobs === null ? null : chatLogprobs(model.tokenizer, choice.logprobs),
      finish_reason: choice.finishReason,
      ...(request.return_token_ids ? { token_ids: choice.tokens } : {}),
    })),
    usage: meter.usage,
    ...(request.return_token_ids ? { prompt_token_ids: prompt } : {}),
  });
}

async function* chunks(
  model: ServedModel,
  request: ChatRequest,
  requests: readonly TokenRequest[],
  base: object,
  abort: RequestAbort,
): AsyncGenerator<unknown> {
  const { prompt } = requests[0];
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
    yield chunk([choice], request.return_token_ids ? { prompt_token_ids: prompt } : {});
  }
  const meter = meterOf(requests);
  for await (const choiceEvent of runChoices(model, requests, request.stop ?? [], abort)) {
    meter.see(choiceEvent);
    const { index, event } = choiceEvent;
    if (event.kind !== "piece") continue;
    yield chunk([{
      index,
      delta: event.text === "" ? {} : { content: event.text },
      logprobs: requests[0].logprobs === null ? null : chatLogprobs(model.tokenizer, event.logprobs),
      finish_reason: event.finishReason,
      ...(request.return_token_ids ? { token_ids: event.tokens } : {}),
    }]);
  }
  if (withUsage) yield chunk([], { usage: meter.usage });
}

function meterOf(requests: readonly TokenRequest[]): UsageMeter {
  return new UsageMeter({ promptTokens: requests[0].prompt.length, choicesPerPrompt: requests.length });
}

function promptOf(model: ServedModel, request: ChatRequest): number[] {
  if (model.chatTemplate === null) {
    throw new HttpError(400, `The model "${model.id}" has no chat template; use /v1/completions`, {
      param: "messages",
      code: "unsupported_parameter",
    });
  }
  return model.tokenizer.encode(model.chatTemplate.render(request.messages), { special: false });
}

function logprobsOf({ logprobs, top_logprobs: top }: ChatRequest): number | null {
  if (top !== undefined && !logprobs) {
    throw new HttpError(400, `"top_logprobs" needs "logprobs": true`, { param: "top_logprobs", code: "invalid_value" });
  }
  return logprobs ? top ?? 0 : null;
}
