/**
 * `POST /v1/responses`: OpenAI's newer form of the same thing. Stateless: nothing is stored, and earlier turns come with the request.
 *
 * @module
 */
import type { Context } from "hono";
import type { FinishReason } from "../../core/engine.ts";
import type { AnswerPart } from "../../core/text/answers/answer_parser.ts";
import { type AnswerForm, answerForm, type ConversationFields } from "./answer_form.ts";
import { collectChoices, runChoices, type Usage, UsageMeter } from "./choices.ts";
import { callId, sortAnswer } from "./chat_message.ts";
import type { Message, ResponseFormatField } from "./conversation_schema.ts";
import { toHttpError } from "./errors.ts";
import { parseBody } from "./openai_schema.ts";
import { checkModel, tokenRequests } from "./requests.ts";
import { type ResponsesRequest, responsesRequest } from "./responses_schema.ts";
import { type AppEnv, ConstrainedRequests, type ServerContext } from "./server_context.ts";
import { NamedEvent, RequestAbort, streamEvents } from "./sse.ts";

/** Handles one request. */
export async function handleResponses(c: Context<AppEnv>, server: ServerContext, body: unknown): Promise<Response> {
  const { model } = server;
  const request = parseBody(responsesRequest, body);
  checkModel(model, request.model);
  const abort = new RequestAbort(c, server.shutdown);
  const form = await answerForm(server, conversationOf(request));
  const requests = tokenRequests(model, { temperature: request.temperature, top_p: request.top_p }, {
    prompt: form.prompt,
    maxTokens: request.max_output_tokens,
    logprobs: null,
    promptLogprobs: null,
    client: c.get("client"),
    signal: abort.signal,
  });
  const constrained = await ConstrainedRequests.create(server, requests, form.grammar);
  const meter = new UsageMeter({ promptTokens: form.prompt.length, choicesPerPrompt: 1 });
  const response = new ResponseObject(request, model.id);
  if (request.stream) return streamEvents(abort, (send) => sendEvents(server, constrained, form, response, meter, abort, send), { done: false });

  using _ = constrained;
  const [choice] = await collectChoices(model, constrained.requests, { stop: [], kept: form.kept }, abort, meter);
  const parser = form.parser();
  const items = itemsOf([...parser.push(choice.text), ...parser.finish()], statusOf(choice.finishReason));
  return c.json(response.ended(items, choice.finishReason, meter.usage, await reasoningTokens(server, items)));
}

function conversationOf({ input, instructions, tools, tool_choice, parallel_tool_calls, text }: ResponsesRequest): ConversationFields {
  const said: Message[] = typeof input === "string" ? [{ role: "user", content: input }] : input.flatMap(messagesOf);
  return {
    messages: instructions === undefined ? said : [{ role: "system", content: instructions }, ...said],
    tools: tools?.map(({ name, description, parameters, strict }) => ({ type: "function", function: { name, description, parameters, strict } })),
    tool_choice,
    parallel_tool_calls,
    response_format: formatOf(text?.format),
  };
}

type InputItem = Exclude<ResponsesRequest["input"], string>[number];

function messagesOf(item: InputItem): Message[] {
  if ("role" in item && typeof item.role === "string") {
    const { role, content } = item as Extract<InputItem, { role: string }>;
    return [{ role: role === "developer" ? "system" : role, content }];
  }
  switch (item.type) {
    case "function_call": {
      const { call_id, name, arguments: text } = item as Extract<InputItem, { type: "function_call" }>;
      return [{ role: "assistant", tool_calls: [{ id: call_id, type: "function", function: { name, arguments: text } }] }];
    }
    case "function_call_output": {
      const { call_id, output } = item as Extract<InputItem, { type: "function_call_output" }>;
      return [{ role: "tool", content: output, tool_call_id: call_id }];
    }
    default:
      // Earlier reasoning is not shown to the model again.
      return [];
  }
}

function formatOf(format: NonNullable<ResponsesRequest["text"]>["format"]): ResponseFormatField | undefined {
  if (format?.type !== "json_schema") return format;
  const { name, description, schema, strict } = format;
  return { type: "json_schema", json_schema: { name, description, schema, strict } };
}

/** An item of the output. */
type OutputItem = Readonly<Record<string, unknown>> & { readonly id: string };

type ItemStatus = "in_progress" | "completed" | "incomplete";

/** The status of what an answer ends with. */
function statusOf(reason: FinishReason): ItemStatus {
  return reason === "stop" ? "completed" : "incomplete";
}

/** @param status of the last item; those before it are complete */
function itemsOf(parts: readonly AnswerPart[], status: ItemStatus): OutputItem[] {
  const { content, reasoning, calls } = sortAnswer(parts);
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
async function reasoningTokens({ encoder }: ServerContext, items: readonly OutputItem[]): Promise<number> {
  const parts = items.filter(({ type }) => type === "reasoning").flatMap(({ content }) => content as { readonly text: string }[]);
  const tokens = await encoder.encodeAll(parts.map(({ text }) => text), { special: false });
  return tokens.reduce((sum, { length }) => sum + length, 0);
}

function newId(prefix: string): string {
  return `${prefix}_${crypto.randomUUID().replaceAll("-", "")}`;
}

/** The response as it is reported at its various stages. */
class ResponseObject {
  readonly #base: Readonly<Record<string, unknown>>;

  constructor(request: ResponsesRequest, model: string) {
    this.#base = {
      id: newId("resp"),
      object: "response",
      created_at: Math.floor(Date.now() / 1000),
      model,
      background: false,
      error: null,
      incomplete_details: null,
      instructions: request.instructions ?? null,
      max_output_tokens: request.max_output_tokens ?? null,
      metadata: request.metadata ?? {},
      output: [],
      parallel_tool_calls: request.parallel_tool_calls ?? true,
      previous_response_id: null,
      store: false,
      temperature: request.temperature ?? null,
      text: { format: request.text?.format ?? { type: "text" } },
      tool_choice: request.tool_choice ?? "auto",
      tools: request.tools ?? [],
      top_p: request.top_p ?? null,
      truncation: "disabled",
      usage: null,
    };
  }

  begun(): object {
    return { ...this.#base, status: "in_progress" };
  }

  ended(output: readonly OutputItem[], reason: FinishReason, usage: Usage, reasoningTokens: number): object {
    return {
      ...this.#base,
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
    };
  }

  failed(error: unknown): object {
    const { message, code } = toHttpError(error).body.error;
    return { ...this.#base, status: "failed", error: { code: code ?? "server_error", message } };
  }
}

async function sendEvents(
  server: ServerContext,
  constrained: ConstrainedRequests,
  form: AnswerForm,
  response: ResponseObject,
  meter: UsageMeter,
  abort: RequestAbort,
  send: (event: NamedEvent) => void,
): Promise<void> {
  const { model } = server;
  using _ = constrained;
  let number = 0;
  const event = (type: string, data: object) => send(new NamedEvent(type, { type, sequence_number: number++, ...data }));
  event("response.created", { response: response.begun() });
  event("response.in_progress", { response: response.begun() });
  const output = new StreamedOutput(event);
  const parser = form.parser();
  let reason: FinishReason = "stop";
  try {
    await runChoices(model, constrained.requests, { stop: [], kept: form.kept }, abort, (index, happened) => {
      meter.see(index, happened);
      if (happened.kind !== "piece") return;
      const { text, finishReason } = happened;
      reason = finishReason ?? reason;
      for (const part of [...parser.push(text), ...(finishReason === null ? [] : parser.finish())]) output.take(part);
    });
  } catch (error) {
    event("response.failed", { response: response.failed(error) });
    return;
  }
  output.end(statusOf(reason));
  const type = reason === "stop" ? "response.completed" : "response.incomplete";
  event(type, { response: response.ended(output.items, reason, meter.usage, await reasoningTokens(server, output.items)) });
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
