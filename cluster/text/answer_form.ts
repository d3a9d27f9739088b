/**
 * What an answer of a conversation looks like: the prompt with the tools it may call, the grammar it must follow, and how it is taken apart.
 *
 * @module
 */
import type { ServedModel } from "../../core/engine.ts";
import type { AnswerGrammar, FormGrammar } from "../../core/text/answers/answer_grammar.ts";
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
import type { ChatMessage, ChatTemplate, PromptEnd, RenderOptions } from "../../core/text/chat_template.ts";
import { writeGrammar } from "../grammar/written_grammar.ts";
import { encodeFitting } from "./check_prompt.ts";
import type { ConversationFields, FieldNames, PreparedConversation } from "./jobs.ts";
import type { TextModel } from "./text_model.ts";
import { nameCalls } from "./call_names.ts";
import type { Message, ResponseFormatField, ToolChoiceField, ToolField } from "../api/conversation_schema.ts";
import { HttpError, shortened } from "../api/errors.ts";
import { LatentmeshError } from "../../core/errors.ts";

/** Special tokens that are text to grammars and parsers of this model. */
export function keptTokens(model: ServedModel): ReadonlySet<number> {
  const { tools, reasoning } = answerFormats(model);
  return markerTokens(tools, reasoning, (text) => model.tokenizer.tokenOf(text));
}

/** Fields of chat completions. */
const CHAT_FIELDS: FieldNames = { prompt: "messages", form: "response_format", tools: "tools", continues: "continue_final_message" };

/** Renders and tokenises a conversation. @throws {HttpError} 400 if the fields contradict each other or the model has no chat template */
export function answerForm(model: TextModel, fields: ConversationFields, names: FieldNames = CHAT_FIELDS): PreparedConversation {
  const { chatTemplate } = model;
  if (chatTemplate === null) {
    throw new HttpError(400, `The model "${model.id}" has no chat template; use /v1/completions`, {
      param: names.prompt,
      code: "unsupported_parameter",
    });
  }
  const { tools: format, reasoning: marks } = answerFormats(model);
  checkNames(fields.tools, names);
  const tools = fields.tool_choice === "none" ? [] : (fields.tools ?? []).map(toolOf);
  const messages = nameCalls(format, fields.messages);
  const end = endOf(fields, names);
  const text = rendered(chatTemplate, conversation(chatTemplate, format, messages, tools), {
    tools: tools.length > 0 ? fields.tools : [],
    end,
    variables: variablesOf(fields),
  }, names);
  const said = fields.messages.at(-1)?.content ?? "";
  // Reasoning that the template begins, or that the message which goes on has not ended.
  const begun = marks !== null &&
    (end === "message" ? said.lastIndexOf(marks.begin) > said.lastIndexOf(marks.end) : text.trimEnd().endsWith(marks.begin));
  const grammar = grammarOf(fields, format, tools);
  return {
    prompt: Uint32Array.from(encodeFitting(model, text, { special: false, from: names.prompt })),
    grammar: grammar === null ? null : writeGrammar(begun ? { kind: "reasoned", marker: marks.end, then: grammar } : grammar, names),
    tools: tools.length > 0,
    types: format.keyed?.texts === "bare" ? Object.fromEntries(tools.map(({ name, parameters }) => [name, argumentTypes(parameters)])) : undefined,
    reasoning: begun ? "begun" : marks === null || end === "message" ? "no" : "possible",
  };
}

/** @throws {LatentmeshError} `invalid_request` that names the field which the conversation is in */
function rendered(template: ChatTemplate, messages: readonly ChatMessage[], options: RenderOptions, names: FieldNames): string {
  try {
    return template.render(messages, options);
  } catch (error) {
    if (!(error instanceof LatentmeshError) || error.param === undefined) throw error;
    throw new LatentmeshError(error.code, error.message, { param: names.prompt, cause: error });
  }
}

/**
 * Variables for the template: those that the client names, and how much it wants reasoned. Families have names of their own for whether they reason at all; what a
 * template does not know says nothing to it.
 */
function variablesOf({ reasoning_effort: effort, chat_template_kwargs: own }: ConversationFields): Readonly<Record<string, unknown>> {
  if (effort === undefined) return own ?? {};
  const reasons = effort !== "none";
  return { reasoning_effort: effort, enable_thinking: reasons, thinking: reasons, ...own };
}

/** A parser for one answer. */
export function answerParser(model: ServedModel, { tools, types, reasoning }: PreparedConversation): AnswerParser {
  const formats = answerFormats(model);
  return new AnswerParser({ tools: tools ? formats.tools : null, types, reasoning, marks: formats.reasoning ?? undefined });
}

/** @throws {HttpError} 400 if there is no message to continue, or its end would have to follow a grammar whose beginning it has */
function endOf(
  { messages, add_generation_prompt: answers, continue_final_message: continues, ...fields }: ConversationFields,
  names: FieldNames,
): PromptEnd {
  if (!continues) return answers === false ? "conversation" : "answer";
  const refuse = (problem: string) =>
    new HttpError(400, `${names.continues === "messages" ? "A message that goes on" : `"${names.continues}"`} ${problem}`, {
      param: names.continues,
      code: "invalid_value",
    });
  if (answers) throw refuse(`and "add_generation_prompt" cannot both be true`);
  const last = messages.at(-1)!;
  if (last.role !== "assistant" || (last.tool_calls?.length ?? 0) > 0 || !last.content?.trim()) {
    throw refuse("needs a last message of the assistant's, with content and without calls");
  }
  const structured = fields.response_format !== undefined && fields.response_format.type !== "text";
  if (structured || fields.tool_choice === "required" || typeof fields.tool_choice === "object") {
    throw refuse(
      `cannot be combined with "${structured ? names.form : "tool_choice"}": what the message already says is no part of what would be forced`,
    );
  }
  return "message";
}

/** @throws {HttpError} 400 if two tools have one name */
function checkNames(tools: readonly ToolField[] = [], { tools: param }: FieldNames): void {
  const seen = new Set<string>();
  for (const { function: { name } } of tools) {
    if (seen.has(name)) {
      throw new HttpError(400, `Two tools are called "${shortened(name)}": a call could not tell which of them is meant`, {
        param,
        code: "invalid_value",
      });
    }
    seen.add(name);
  }
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
    const grammar = toolGrammar(format, tools, wanted, { several: parallel ?? true });
    // Where a call must come there is no text whose form could be said.
    if (!structured || grammar.kind !== "text") return grammar;
    return { kind: "either", form: grammarOfForm(form), calls: grammar.calls };
  }
  if (choice === "required" || typeof choice === "object") {
    throw new HttpError(400, `"tool_choice" asks for a call, but there are no tools`, { param: "tool_choice", code: "invalid_value" });
  }
  return structured ? grammarOfForm(form) : null;
}

/** The grammar of a form. */
function grammarOfForm(form: Exclude<ResponseFormatField, { type: "text" }>): FormGrammar {
  switch (form.type) {
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
    throw new HttpError(400, `"tool_choice" names the tool "${shortened(name)}", which is not among the tools`, {
      param: "tool_choice",
      code: "invalid_value",
    });
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
