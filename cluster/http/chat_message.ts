/**
 * Parts of an answer in the form of chat messages, whole and as deltas.
 *
 * @module
 */
import type { AnswerPart } from "../../core/text/answers/answer_parser.ts";

/** One call of a tool. */
export interface ToolCall {
  readonly id: string;
  readonly type: "function";
  readonly function: { readonly name: string; readonly arguments: string };
}

/** A whole answer, sorted. */
export interface SortedAnswer {
  readonly content: string;
  readonly reasoning: string;
  readonly calls: readonly ToolCall[];
}

/** Sorts the parts of a whole answer. */
export function sortAnswer(parts: readonly AnswerPart[]): SortedAnswer {
  const joined = (kind: "content" | "reasoning") => parts.map((part) => part.kind === kind ? part.text : "").join("");
  const calls = parts.filter((part) => part.kind === "call").map(({ name, index }): ToolCall => ({
    id: callId(),
    type: "function",
    function: { name, arguments: parts.map((part) => part.kind === "arguments" && part.index === index ? part.text : "").join("") },
  }));
  return { content: joined("content"), reasoning: joined("reasoning"), calls };
}

/** `choices[].message` of chat completions. */
export function messageOf(parts: readonly AnswerPart[]): object {
  const { content, reasoning, calls } = sortAnswer(parts);
  return {
    role: "assistant",
    content: calls.length > 0 && content === "" ? null : content,
    refusal: null,
    ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}

/** `choices[].delta` of chat completions. */
export function deltaOf(parts: readonly AnswerPart[]): object {
  const delta: { content?: string; reasoning_content?: string; tool_calls?: object[] } = {};
  for (const part of parts) {
    switch (part.kind) {
      case "content":
        delta.content = (delta.content ?? "") + part.text;
        break;
      case "reasoning":
        delta.reasoning_content = (delta.reasoning_content ?? "") + part.text;
        break;
      case "call":
        (delta.tool_calls ??= []).push({ index: part.index, id: callId(), type: "function", function: { name: part.name, arguments: "" } });
        break;
      case "arguments":
        (delta.tool_calls ??= []).push({ index: part.index, function: { arguments: part.text } });
        break;
      default:
        part satisfies never;
    }
  }
  return delta;
}

/** A name for a call, unique in any conversation. */
export function callId(): string {
  return `call_${crypto.randomUUID().replaceAll("-", "").slice(0, 24)}`;
}
