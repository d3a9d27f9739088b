/**
 * Items of a response, whole and as they are written.
 *
 * @module
 */
import type { FinishReason } from "../../../core/engine.ts";
import type { AnswerPart } from "../../../core/text/answers/answer_parser.ts";
import type { SortedAnswer } from "../../text/answer_sum.ts";
import type { Namespaces } from "../../text/jobs.ts";
import type { AnswerNames } from "../relay/relayed_request.ts";

/** An item of the output. */
export type OutputItem = Readonly<Record<string, unknown>> & { readonly id: string };

/** What has become of an item. */
export type ItemStatus = "in_progress" | "completed" | "incomplete";

/** The status of what an answer ends with. */
export function statusOf(reason: FinishReason): ItemStatus {
  return reason === "stop" ? "completed" : "incomplete";
}

/** The items of a whole answer. @param status of the last item; those before it are complete */
export function itemsOf({ content, reasoning, calls }: SortedAnswer, status: ItemStatus, namespaces: Namespaces, names: AnswerNames): OutputItem[] {
  const newId = (prefix: string) => `${prefix}_${names.next()}`;
  return [
    ...(reasoning === "" ? [] : [reasoningItem(newId("rs"), reasoning)]),
    ...(content === "" && calls.length > 0 ? [] : [messageItem(newId("msg"), content, calls.length > 0 ? "completed" : status)]),
    ...calls.map(({ id, function: { name, arguments: text } }, i) =>
      callItem(newId("fc"), id, namedIn(namespaces, name), text, i === calls.length - 1 ? status : "completed")
    ),
  ];
}

function reasoningItem(id: string, text: string): OutputItem {
  return { id, type: "reasoning", summary: [], content: [reasoningPart(text)] };
}

function reasoningPart(text: string) {
  return { type: "reasoning_text", text };
}

function textPart(text: string) {
  return { type: "output_text", text, annotations: [], logprobs: [] };
}

function messageItem(id: string, text: string, status: ItemStatus): OutputItem {
  return { id, type: "message", role: "assistant", status, content: status === "in_progress" ? [] : [textPart(text)] };
}

/** What a function is called by the client. */
interface FunctionName {
  readonly name: string;
  readonly namespace?: string;
}

function namedIn(namespaces: Namespaces, name: string): FunctionName {
  return Object.hasOwn(namespaces, name) ? namespaces[name] : { name };
}

function callItem(id: string, call: string, name: FunctionName, text: string, status: ItemStatus): OutputItem {
  return { id, type: "function_call", call_id: call, ...name, arguments: text, status };
}

interface OpenItem {
  readonly kind: "message" | "reasoning" | "call";
  readonly id: string;
  readonly call: string;
  readonly name: FunctionName;
  text: string;
}

/** The item that is being written, and those that are done. */
export class StreamedOutput {
  readonly items: OutputItem[] = [];
  readonly #event: (type: string, data: object) => void;
  readonly #namespaces: Namespaces;
  readonly #names: AnswerNames;
  #open: OpenItem | null = null;

  constructor(event: (type: string, data: object) => void, namespaces: Namespaces, names: AnswerNames) {
    this.#event = event;
    this.#namespaces = namespaces;
    this.#names = names;
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
    const id = `${{ message: "msg", reasoning: "rs", call: "fc" }[kind]}_${this.#names.next()}`;
    const call = kind === "call" ? `call_${this.#names.next().slice(0, 24)}` : "";
    const open: OpenItem = this.#open = { kind, id, call, name: namedIn(this.#namespaces, name), text: "" };
    const where = { output_index: this.items.length };
    const item = kind === "message"
      ? messageItem(open.id, "", "in_progress")
      : kind === "call"
      ? callItem(open.id, open.call, open.name, "", "in_progress")
      : { ...reasoningItem(open.id, ""), content: [] };
    this.#event("response.output_item.added", { ...where, item });
    if (kind === "call") return;
    const part = kind === "message" ? textPart("") : reasoningPart("");
    this.#event("response.content_part.added", { ...where, item_id: open.id, content_index: 0, part });
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
    } else if (kind === "call") this.#event("response.function_call_arguments.done", { ...where, ...name, arguments: text });
    else {
      this.#event("response.reasoning_text.done", { ...where, content_index: 0, text });
      this.#event("response.content_part.done", { ...where, content_index: 0, part: reasoningPart(text) });
    }
    const item = kind === "message"
      ? messageItem(id, text, status)
      : kind === "call"
      ? callItem(id, call, name, text, status)
      : reasoningItem(id, text);
    this.#event("response.output_item.done", { output_index: this.items.length, item });
    this.items.push(item);
  }
}
