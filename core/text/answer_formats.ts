/**
 * The forms of a model's answers, by its template and vocabulary.
 *
 * @module
 */
import { reasoningFormatOf, toolFormatOf } from "./answers/choose_format.ts";
import type { ReasoningFormat } from "./answers/reasoning.ts";
import type { ToolFormat } from "./answers/tool_format.ts";
import type { ChatTemplate } from "./chat_template.ts";
import type { TextTokenizer } from "./tokenizer.ts";

/** How a model writes calls, and reasoning, if it marks it. */
export interface AnswerFormats {
  readonly tools: ToolFormat;
  readonly reasoning: ReasoningFormat | null;
}

const KNOWN = new WeakMap<TextTokenizer, AnswerFormats>();

/** The forms of a model's answers. */
export function answerFormats(model: { readonly tokenizer: TextTokenizer; readonly chatTemplate: ChatTemplate | null }): AnswerFormats {
  const { tokenizer, chatTemplate } = model;
  let formats = KNOWN.get(tokenizer);
  if (formats === undefined) {
    const source = { tokenOf: (text: string) => tokenizer.tokenOf(text), template: chatTemplate?.source ?? null };
    formats = { tools: toolFormatOf(source), reasoning: reasoningFormatOf(source) };
    KNOWN.set(tokenizer, formats);
  }
  return formats;
}

/** The same in a line for people. */
export function describeFormats(model: { readonly tokenizer: TextTokenizer; readonly chatTemplate: ChatTemplate }): string {
  const { tools, reasoning } = answerFormats(model);
  const { describesTools, writesCalls, habits } = model.chatTemplate;
  const told = describesTools ? "described by the template" : "described in words";
  const earlier = writesCalls
    ? `the template writes earlier calls, from ${habits.arguments === "object" ? "objects" : "text"}`
    : "earlier calls in words";
  const thoughts = reasoning === null ? "no marks of reasoning" : `reasoning in ${reasoning.begin}…${reasoning.end}`;
  return `tool calls as ${tools.name} (tools ${told}; ${earlier}); ${thoughts}`;
}
