/**
 * `POST /v1/responses`: OpenAI's newer form of the same thing. Stateless: nothing is stored, and earlier turns come with the request.
 *
 * @module
 */
import type { Context } from "hono";
import type { FinishReason } from "../../../core/engine.ts";
import type { Namespaces, PreparedConversation, PreparedResponse } from "../../text/jobs.ts";
import { answerParser, keptTokens } from "../../text/answer_form.ts";
import { runChoices, type Usage, UsageMeter } from "../answers/choices.ts";
import { AnswerSum, partsOf } from "../../text/answer_sum.ts";
import { itemsOf, type OutputItem, statusOf, StreamedOutput } from "./response_items.ts";
import { warned } from "../answers/warned.ts";
import { toHttpError } from "../../api/errors.ts";
import { joined, jsonResponse, WrittenJson } from "../json.ts";
import { HeldBody } from "../body.ts";
import type { AnswerNames } from "../relay/relayed_request.ts";
import { tokenRequests } from "../answers/requests.ts";
import { type AppEnv, ConstrainedRequests, type ServerContext } from "../server_context.ts";
import { NamedEvent, RequestAbort, streamEvents } from "../sse.ts";

/** Handles one request. */
export async function handleResponses(c: Context<AppEnv>, server: ServerContext): Promise<Response> {
  const { model } = server;
  const { request, conversation, namespaces, echo, warning, store } = await preparedResponse(c, server);
  const abort = new RequestAbort(c, server.shutdown);
  const { temperature, top_p, priority, speculate } = request;
  const requests = tokenRequests(model, { temperature, top_p, priority, speculate }, {
    prompt: conversation.prompt,
    bias: null,
    maxTokens: request.max_output_tokens,
    logprobs: null,
    promptLogprobs: null,
    client: c.get("client"),
    signal: abort.signal,
  });
  const constrained = await ConstrainedRequests.create(server, requests, conversation.grammar);
  const meter = new UsageMeter({ promptTokens: conversation.prompt.length, choicesPerPrompt: 1 });
  const work: ResponseWork = {
    server,
    constrained,
    conversation,
    namespaces,
    meter,
    names: c.get("names"),
    response: new ResponseObject(echo, c.get("names")),
    client: c.get("client"),
    store,
  };
  if (request.stream) return warned(streamEvents(abort, (send) => sendEvents(work, abort, send), { done: false }), warning);

  using _ = constrained;
  const answer = new AnswerSum(answerParser(model, conversation));
  let reason: FinishReason = "stop";
  await runChoices(model, constrained.requests, { stop: [], kept: keptTokens(model) }, abort, (index, event) => {
    meter.see(index, event);
    if (event.kind !== "piece") return;
    answer.take(event);
    reason = event.finishReason ?? reason;
  });
  const items = itemsOf(answer, statusOf(reason), namespaces, work.names);
  if (store) server.items.keep(work.client, items);
  return warned(jsonResponse(work.response.ended(items, reason, meter.usage, answer.reasoningTokens)), warning);
}

/** Prepares what a body asks for, with the items that it refers to. @throws {HttpError} if it cannot be used */
async function preparedResponse(c: Context<AppEnv>, { text, bodies, items }: ServerContext): Promise<PreparedResponse> {
  const client = c.get("client");
  const { signal } = c.req.raw;
  using body = await HeldBody.read(c.req.raw, client, bodies);
  const first = await text.run("response", { body: body.bytes, kept: null }, { client, signal });
  if (!("references" in first)) return first;
  const kept = items.find(client, first.references);
  return await text.run("response", { body: body.bytes, kept }, { client, signal }) as PreparedResponse;
}

/** A response that is being computed. */
interface ResponseWork {
  readonly server: ServerContext;
  readonly constrained: ConstrainedRequests;
  readonly conversation: PreparedConversation;
  readonly namespaces: Namespaces;
  readonly meter: UsageMeter;
  readonly names: AnswerNames;
  readonly response: ResponseObject;
  readonly client: string;
  readonly store: boolean;
}

/** The response as it is reported at its various stages. */
class ResponseObject {
  readonly #base: object;
  readonly #echo: Uint8Array<ArrayBuffer>;

  /** @param echo what it repeats of the request, see `response_fields.ts` */
  constructor(echo: Uint8Array<ArrayBuffer>, names: AnswerNames) {
    this.#base = { id: `resp_${names.next()}`, object: "response", created_at: names.created, error: null, incomplete_details: null };
    this.#echo = echo;
  }

  begun(): WrittenJson {
    return this.#at({ status: "in_progress", output: [], usage: null });
  }

  ended(output: readonly OutputItem[], reason: FinishReason, usage: Usage, reasoningTokens: number): WrittenJson {
    return this.#at({
      status: statusOf(reason),
      incomplete_details: reason === "stop" ? null : { reason: "max_output_tokens" },
      output,
      usage: {
        input_tokens: usage.prompt_tokens,
        input_tokens_details: usage.prompt_tokens_details,
        output_tokens: usage.completion_tokens,
        output_tokens_details: { reasoning_tokens: reasoningTokens },
        total_tokens: usage.total_tokens,
      },
    });
  }

  failed(error: unknown): WrittenJson {
    const { message, code } = toHttpError(error).body.error;
    return this.#at({ status: "failed", output: [], usage: null, error: { code: code ?? "server_error", message } });
  }

  #at(fields: object): WrittenJson {
    const own = JSON.stringify({ ...this.#base, ...fields });
    return new WrittenJson(joined([own.slice(0, -1), ",", this.#echo, "}"]));
  }
}

async function sendEvents(
  work: ResponseWork,
  abort: RequestAbort,
  send: (event: NamedEvent) => void,
): Promise<void> {
  const { server: { model }, constrained, conversation, namespaces, meter, response } = work;
  using _ = constrained;
  let number = 0;
  const event = (type: string, data: object) => send(new NamedEvent(type, { type, sequence_number: number++, ...data }));
  event("response.created", { response: response.begun() });
  event("response.in_progress", { response: response.begun() });
  const output = new StreamedOutput(event, namespaces, work.names);
  const parser = answerParser(model, conversation);
  let reason: FinishReason = "stop";
  try {
    await runChoices(model, constrained.requests, { stop: [], kept: keptTokens(model) }, abort, (index, happened) => {
      meter.see(index, happened);
      if (happened.kind !== "piece") return;
      reason = happened.finishReason ?? reason;
      for (const part of partsOf(parser, happened)) output.take(part);
    });
    output.end(statusOf(reason));
    if (work.store) work.server.items.keep(work.client, output.items);
    const type = reason === "stop" ? "response.completed" : "response.incomplete";
    event(type, { response: response.ended(output.items, reason, meter.usage, parser.reasoningTokens) });
  } catch (error) {
    event("response.failed", { response: response.failed(error) });
  }
}
