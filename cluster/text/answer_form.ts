/**
 * What an answer of a conversation looks like: the prompt with the tools it may call, the grammar it must follow, and how it is taken apart.
 *
 * @module
 */
import type { ServedModel } from "../../core/engine.ts";
import type { AnswerGrammar } from "../../core/text/answers/answer_grammar.ts";
import { AnswerParser } from "../../core/text/answers/answer_parser.ts";
import { argumentTypes } from "../../core/text/answers/argument_types.ts";
import {
  describeTools,
  markerTokens,
  type Tool,
  type ToolChoice,
  type ToolFormat,
  toolGrammar,
  writeCalls,
} from "../../core/text/answers/tool_format.ts";
import { answerFormats } from "../../core/text/answer_formats.ts";
import type { ChatMessage, ChatTemplate, PromptEnd } from "../../core/text/chat_template.ts";
import { writeGrammar } from "../grammar/written_grammar.ts";
import { encodeFitting, type PromptField } from "./check_prompt.ts";
import type { ConversationFields, PreparedConversation } from "./jobs.ts";
import type { TextModel } from "./text_model.ts";
import { nameCalls } from "./call_names.ts";
import type { Message, ResponseFormatField, ToolChoiceField, ToolField } from "../api/conversation_schema.ts";
import { HttpError } from "../api/errors.ts";

/** Special tokens that are text to grammars and parsers of this model. */
export function keptTokens(model: ServedModel): ReadonlySet<number> {
  const { tools, reasoning } = answerFormats(model);
  return markerTokens(tools, reasoning, (text) => model.tokenizer.tokenOf(text));
}

/** Renders and tokenises a conversation. @param from the field that it is in @throws {HttpError} 400 if the fields contradict each other or the model has no chat template */
export function answerForm(model: TextModel, fields: ConversationFields, from: PromptField = "messages"): PreparedConversation {
  const { chatTemplate } = model;
  if (chatTemplate === null) {
    throw new HttpError(400, `The model "${model.id}" has no chat template; use /v1/completions`, {
      param: "messages",
      code: "unsupported_parameter",
    });
  }
  const { tools: format, reasoning: marks } = answerFormats(model);
  const tools = fields.tool_choice === "none" ? [] : (fields.tools ?? []).map(toolOf);
  const messages = nameCalls(format, fields.messages);
  const end = endOf(fields);
  const text = chatTemplate.render(conversation(chatTemplate, format, messages, tools), tools.length > 0 ? fields.tools : [], end);
  const said = fields.messages.at(-1)?.content ?? "";
  // Reasoning that the template begins, or that the message which goes on has not ended.
  const begun = marks !== null &&
    (end === "message" ? said.lastIndexOf(marks.begin) > said.lastIndexOf(marks.end) : text.trimEnd().endsWith(marks.begin));
  const grammar = grammarOf(fields, format, tools);
  return {
    prompt: Uint32Array.from(encodeFitting(model, text, { special: false, from })),
    grammar: grammar === null ? null : writeGrammar(begun ? { kind: "reasoned", marker: marks.end, then: grammar } : grammar),
    tools: tools.length > 0,
    types: format.keyed?.texts === "bare" ? Object.fromEntries(tools.map(({ name, parameters }) => [name, argumentTypes(parameters)])) : undefined,
    reasoning: begun ? "begun" : marks === null || end === "message" ? "no" : "possible",
  };
}

/** A parser for one answer. */
export function answerParser(model: ServedModel, { tools, types, reasoning }: PreparedConversation): AnswerParser {
  const formats = answerFormats(model);
  return new AnswerParser({ tools: tools ? formats.tools : null, types, reasoning, marks: formats.reasoning ?? undefined });
}

/** @throws {HttpError} 400 if there is no message to continue, or its end would have to follow a grammar whose beginning it has */
function endOf({ messages, add_generation_prompt: answers, continue_final_message: continues, ...fields }: ConversationFields): PromptEnd {
  if (!continues) return answers === false ? "conversation" : "answer";
  const refuse = (problem: string) =>
    new HttpError(400, `"continue_final_message" ${problem}`, { param: "continue_final_message", code: "invalid_value" });
  if (answers) throw refuse(`and "add_generation_prompt" cannot both be true`);
  const last = messages.at(-1)!;
  if (last.role !== "assistant" || (last.tool_calls?.length ?? 0) > 0 || !last.content?.trim()) {
    throw refuse("needs a last message of the assistant's, with content and without calls");
  }
  const structured = fields.response_format !== undefined && fields.response_format.type !== "text";
  if (structured || fields.tool_choice === "required" || typeof fields.tool_choice === "object") {
    throw refuse(
      `cannot be combined with "${structured ? "response_format" : "tool_choice"}": what the message already says is no part of what would be forced`,
    );
  }
  return "message";
}

function toolOf({ function: { name, description, parameters, strict } }: ToolField): Tool {
  return { name, description, parameters: parameters ?? { type: "object", properties: {} }, strict };
}

function grammarOf(
  { tool_choice: choice, parallel_tool_calls: parallel, response_format: form }: ConversationFields,
  format: ToolFormat,
  tools: readonly Tool[],
): AnswerGrammar | null {
  const structured = form !== undefined && form.type !== "text";
  if (tools.length > 0) {
    const wanted = toolChoiceOf(choice, tools);
    if (structured && wanted.kind === "auto") {
      throw new HttpError(400, `"response_format" cannot be combined with tools that may or may not be called`, {
        param: "response_format",
        code: "invalid_value",
      });
    }
    // Where a call must come there is no text whose form could be said.
    return toolGrammar(format, tools, wanted, { several: parallel ?? true });
  }
  if (choice === "required" || typeof choice === "object") {
    throw new HttpError(400, `"tool_choice" asks for a call, but there are no tools`, { param: "tool_choice", code: "invalid_value" });
  }
  return form === undefined ? null : grammarOfFormat(form);
}

/** The grammar of a form; null for text. */
function grammarOfFormat(form: ResponseFormatField): AnswerGrammar | null {
  switch (form.type) {
    case "text":
      return null;
    case "json_object":
      return { kind: "json", schema: { type: "object" }, strict: false };
    case "json_schema":
      return { kind: "json", schema: form.json_schema.schema ?? { type: "object" }, strict: form.json_schema.strict ?? false };
    default:
      return form satisfies never;
  }
}

function toolChoiceOf(choice: ToolChoiceField | undefined, tools: readonly Tool[]): ToolChoice {
  if (choice === undefined || choice === "auto" || choice === "none") return { kind: "auto" };
  if (choice === "required") return { kind: "required" };
  const { name } = choice.function;
  if (!tools.some((tool) => tool.name === name)) {
    throw new HttpError(400, `"tool_choice" names the tool "${name}", which is not among the tools`, { param: "tool_choice", code: "invalid_value" });
  }
  return { kind: "tool", name };
}

/** The conversation as the template can take it: what it does not know of tools is said in words. */
function conversation(template: ChatTemplate, format: ToolFormat, messages: readonly Message[], tools: readonly Tool[]): ChatMessage[] {
  const written = messages.map((message): ChatMessage => {
    // A template that knows calls is told that there is no content beside them.
    if (template.writesCalls) return { ...message, content: message.content ?? null };
    const content = message.content ?? "";
    if (message.role === "tool") return { role: "user", content: `<tool_response>\n${content}\n</tool_response>` };
    if (message.role !== "assistant" || message.tool_calls === undefined) return { ...message, content };
    const calls = writeCalls(format, message.tool_calls.map(({ function: call }) => call));
    return { role: "assistant", content: content === "" ? calls : `${content}\n${calls}` };
  });
  if (tools.length === 0 || template.describesTools) return written;
  const description = describeTools(format, tools);
  const [first, ...rest] = written;
  return first.role === "system"
    ? [{ ...first, content: `${first.content}\n\n${description}` }, ...rest]
    : [{ role: "system", content: description }, ...written];
}
