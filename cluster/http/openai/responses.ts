/**
 * `POST /v1/responses`: OpenAI's newer form of the same thing. Stateless: nothing is stored, and earlier turns come with the request.
 *
 * @module
 */
import type { Context } from "hono";
import type { FinishReason } from "../../../core/engine.ts";
import type { AnswerPart } from "../../../core/text/answers/answer_parser.ts";
import type { PreparedConversation } from "../../text/jobs.ts";
import { answerParser, keptTokens } from "../../text/answer_form.ts";
import { collectChoices, runChoices, type Usage, UsageMeter } from "../answers/choices.ts";
import { AnswerSum, callId, type SortedAnswer } from "./chat_message.ts";
import { toHttpError } from "../../api/errors.ts";
import { joined, jsonResponse, WrittenJson } from "../json.ts";
import { prepared } from "../answers/prepared.ts";
import { tokenRequests } from "../answers/requests.ts";
import { type AppEnv, ConstrainedRequests, type ServerContext } from "../server_context.ts";
import { NamedEvent, RequestAbort, streamEvents } from "../sse.ts";

/** Handles one request. */
export async function handleResponses(c: Context<AppEnv>, server: ServerContext): Promise<Response> {
  const { model } = server;
  const { request, conversation, echo } = await prepared(c, server, "response");
  const abort = new RequestAbort(c, server.shutdown);
  const requests = tokenRequests(model, { temperature: request.temperature, top_p: request.top_p, priority: request.priority }, {
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
  const work: ResponseWork = { server, constrained, conversation, meter, response: new ResponseObject(echo), client: c.get("client") };
  if (request.stream) return streamEvents(abort, (send) => sendEvents(work, abort, send), { done: false });

  using _ = constrained;
  const [choice] = await collectChoices(model, constrained.requests, { stop: [], kept: keptTokens(model) }, abort, meter);
  const answer = await new AnswerSum(answerParser(model, conversation)).takeWhole(choice.text);
  const items = itemsOf(answer, statusOf(choice.finishReason));
  return jsonResponse(work.response.ended(items, choice.finishReason, meter.usage, await reasoningTokens(work, items)));
}

/** A response that is being computed. */
interface ResponseWork {
  readonly server: ServerContext;
  readonly constrained: ConstrainedRequests;
  readonly conversation: PreparedConversation;
  readonly meter: UsageMeter;
  readonly response: ResponseObject;
  readonly client: string;
}

/** An item of the output. */
type OutputItem = Readonly<Record<string, unknown>> & { readonly id: string };

type ItemStatus = "in_progress" | "completed" | "incomplete";

/** The status of what an answer ends with. */
function statusOf(reason: FinishReason): ItemStatus {
  return reason === "stop" ? "completed" : "incomplete";
}

/** @param status of the last item; those before it are complete */
function itemsOf({ content, reasoning, calls }: SortedAnswer, status: ItemStatus): OutputItem[] {
  return [
    ...(reasoning === "" ? [] : [reasoningItem(newId("rs"), reasoning)]),
    ...(content === "" && calls.length > 0 ? [] : [messageItem(newId("msg"), content, calls.length > 0 ? "completed" : status)]),
    ...calls.map(({ id, function: { name, arguments: text } }, i) =>
      callItem(newId("fc"), id, name, text, i === calls.length - 1 ? status : "completed")
    ),
  ];
}

function reasoningItem(id: string, text: string): OutputItem {
  return { id, type: "reasoning", summary: [], content: [{ type: "reasoning_text", text }] };
}

function textPart(text: string) {
  return { type: "output_text", text, annotations: [], logprobs: [] };
}

function messageItem(id: string, text: string, status: ItemStatus): OutputItem {
  return { id, type: "message", role: "assistant", status, content: status === "in_progress" ? [] : [textPart(text)] };
}

function callItem(id: string, call: string, name: string, text: string, status: ItemStatus): OutputItem {
  return { id, type: "function_call", call_id: call, name, arguments: text, status };
}

/** How many tokens of the output are reasoning. */
async function reasoningTokens({ server, client }: ResponseWork, items: readonly OutputItem[]): Promise<number> {
  const texts = items.filter(({ type }) => type === "reasoning").flatMap(({ content }) => content as { readonly text: string }[]);
  return texts.length === 0 ? 0 : await server.text.run("count", texts.map(({ text }) => text), { client });
}

function newId(prefix: string): string {
  return `${prefix}_${crypto.randomUUID().replaceAll("-", "")}`;
}

/** The response as it is reported at its various stages. */
class ResponseObject {
  readonly #base = { id: newId("resp"), object: "response", created_at: Math.floor(Date.now() / 1000), error: null, incomplete_details: null };
  readonly #echo: Uint8Array<ArrayBuffer>;

  /** @param echo what it repeats of the request, see `response_fields.ts` */
  constructor(echo: Uint8Array<ArrayBuffer>) {
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
  { server, constrained, conversation, meter, response, client }: ResponseWork,
  abort: RequestAbort,
  send: (event: NamedEvent) => void,
): Promise<void> {
  using _ = constrained;
  const { model } = server;
  let number = 0;
  const event = (type: string, data: object) => send(new NamedEvent(type, { type, sequence_number: number++, ...data }));
  event("response.created", { response: response.begun() });
  event("response.in_progress", { response: response.begun() });
  const output = new StreamedOutput(event);
  const parser = answerParser(model, conversation);
  let reason: FinishReason = "stop";
  try {
    await runChoices(model, constrained.requests, { stop: [], kept: keptTokens(model) }, abort, (index, happened) => {
      meter.see(index, happened);
      if (happened.kind !== "piece") return;
      const { text, finishReason } = happened;
      reason = finishReason ?? reason;
      for (const part of [...parser.push(text), ...(finishReason === null ? [] : parser.finish())]) output.take(part);
    });
    output.end(statusOf(reason));
    const tokens = await reasoningTokens({ server, constrained, conversation, meter, response, client }, output.items);
    const type = reason === "stop" ? "response.completed" : "response.incomplete";
    event(type, { response: response.ended(output.items, reason, meter.usage, tokens) });
  } catch (error) {
    event("response.failed", { response: response.failed(error) });
  }
}

/** The item that is being written, and those that are done. */
class StreamedOutput {
  readonly items: OutputItem[] = [];
  readonly #event: (type: string, data: object) => void;
  #open: { readonly kind: "message" | "reasoning" | "call"; readonly id: string; readonly call: string; readonly name: string; text: string } | null =
    null;

  constructor(event: (type: string, data: object) => void) {
    this.#event = event;
  }

  take(part: AnswerPart): void {
    switch (part.kind) {
      case "content":
        if (this.#open?.kind !== "message") this.#begin("message");
        return this.#delta("response.output_text.delta", part.text, { content_index: 0, logprobs: [] });
      case "reasoning":
        if (this.#open?.kind !== "reasoning") this.#begin("reasoning");
        return this.#delta("response.reasoning_text.delta", part.text, { content_index: 0 });
      case "call":
        return this.#begin("call", part.name);
      case "arguments":
        return this.#delta("response.function_call_arguments.delta", part.text, {});
      default:
        part satisfies never;
    }
  }

  /** Ends what is open; an answer without anything is an empty message. */
  end(status: ItemStatus): void {
    if (this.#open === null && this.items.length === 0) this.#begin("message");
    this.#close(status);
  }

  #begin(kind: "message" | "reasoning" | "call", name = ""): void {
    this.#close("completed");
    const open = this.#open = { kind, id: newId({ message: "msg", reasoning: "rs", call: "fc" }[kind]), call: callId(), name, text: "" };
    const where = { output_index: this.items.length };
    const item = kind === "message"
      ? messageItem(open.id, "", "in_progress")
      : kind === "call"
      ? callItem(open.id, open.call, name, "", "in_progress")
      : { ...reasoningItem(open.id, ""), content: [] };
    this.#event("response.output_item.added", { ...where, item });
    if (kind === "message") this.#event("response.content_part.added", { ...where, item_id: open.id, content_index: 0, part: textPart("") });
  }

  #delta(type: string, delta: string, more: object): void {
    this.#open!.text += delta;
    this.#event(type, { item_id: this.#open!.id, output_index: this.items.length, delta, ...more });
  }

  #close(status: ItemStatus): void {
    const open = this.#open;
    if (open === null) return;
    this.#open = null;
    const { kind, id, call, name, text } = open;
    const where = { output_index: this.items.length, item_id: id };
    if (kind === "message") {
      this.#event("response.output_text.done", { ...where, content_index: 0, text, logprobs: [] });
      this.#event("response.content_part.done", { ...where, content_index: 0, part: textPart(text) });
    } else if (kind === "call") this.#event("response.function_call_arguments.done", { ...where, name, arguments: text });
    else this.#event("response.reasoning_text.done", { ...where, content_index: 0, text });
    const item = kind === "message"
      ? messageItem(id, text, status)
      : kind === "call"
      ? callItem(id, call, name, text, status)
      : reasoningItem(id, text);
    this.#event("response.output_item.done", { output_index: this.items.length, item });
    this.items.push(item);
  }
}
