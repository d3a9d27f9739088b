/**
 * Answers with a form, for library users: tools that may be called, and schemas that text must follow.
 *
 * @module
 */
import { z } from "zod";
import { checkOptions } from "../../core/check_options.ts";
import type { ServedModel } from "../../core/engine.ts";
import { LatentmeshError } from "../../core/errors.ts";
import type { GeneratedPiece } from "../../core/text/generate.ts";
import { checkGenerateOptions } from "../../core/text/generate_options.ts";
import { type GenerateOptions, generatePieces } from "../../core/text/text_engine.ts";
import {
  type Message,
  message,
  MESSAGE_FIELDS,
  responseFormat,
  type ResponseFormatField,
  tool,
  toolChoice,
  type ToolChoiceField,
  type ToolField,
} from "../api/conversation_schema.ts";
import { HttpError } from "../api/errors.ts";
import type { Grammars } from "../grammar/grammars.ts";
import { answerForm, answerParser, keptTokens } from "../text/answer_form.ts";
import { AnswerSum } from "../text/answer_sum.ts";
import type { PreparedConversation } from "../text/jobs.ts";

/** What to generate, and what it must look like. */
export interface AnswerOptions extends GenerateOptions {
  /** Functions that the model may call, as OpenAI's API has them; with `messages`. */
  readonly tools?: readonly ToolDefinition[];
  /** `auto` (default), `none`, `required`, or the one that must be called. */
  readonly toolChoice?: "none" | "auto" | "required" | { readonly type: "function"; readonly function: { readonly name: string } };
  /** Whether several calls may come in one answer; default: true. */
  readonly parallelToolCalls?: boolean;
  /** What the answer's text must be; with `messages`. */
  readonly responseFormat?: ResponseFormat;
}

/** A function that a model may call. */
export interface ToolDefinition {
  /** There are no others. */
  readonly type: "function";
  /** Its name, what it is for, and the JSON Schema of its arguments. */
  readonly function: {
    readonly name: string;
    readonly description?: string;
    readonly parameters?: Record<string, unknown>;
    readonly strict?: boolean;
  };
}

/** The form of an answer: any text, any JSON object, or what a JSON Schema describes. */
export type ResponseFormat =
  | { readonly type: "text" | "json_object" }
  | {
    readonly type: "json_schema";
    readonly json_schema: {
      readonly name: string;
      readonly description?: string;
      readonly schema?: Record<string, unknown>;
      readonly strict?: boolean;
    };
  };

/** A call of a tool, as messages have it: it may go into the conversation as it is. */
export interface GeneratedToolCall {
  /** Names it in the answer of the tool. */
  readonly id: string;
  /** There are no others. */
  readonly type: "function";
  /** Which, and its arguments as JSON. */
  readonly function: { readonly name: string; readonly arguments: string };
}

/** A piece of an answer. */
export interface AnswerPiece extends GeneratedPiece {
  /** Reasoning that became certain, where `tools` or `responseFormat` are given; elsewhere it is part of the text. */
  readonly reasoning?: string;
  /** In the last piece: what is called. Of an answer that was cut (`length`), the last call may be cut, too. */
  readonly toolCalls?: readonly GeneratedToolCall[];
}

/** What is checked here; the rest is where it is used. */
const schema = z.object({
  tools: z.array(tool).min(1).max(128),
  toolChoice,
  parallelToolCalls: z.boolean(),
  responseFormat,
}).partial();

const conversation = z.object({ messages: z.array(message).min(1) });

/**
 * Generates an answer.
 *
 * @param grammars of the model, asked for where an answer has a form
 * @throws {LatentmeshError} as `generatePieces` does
 */
export async function* generateAnswer(served: ServedModel, options: AnswerOptions, grammars: () => Grammars): AsyncGenerator<AnswerPiece> {
  const { tools, toolChoice, parallelToolCalls, responseFormat, ...rest } = options;
  const form = { tools, toolChoice, parallelToolCalls, responseFormat };
  if (Object.values(form).every((value) => value === undefined)) return yield* generatePieces(served, rest);
  const { messages, ...sampling } = rest;
  // All that can be said of the options is said before anything is computed for them.
  checkOptions(schema, form, { of: "generate", code: "invalid_request" });
  checkGenerateOptions(sampling, served.vocabSize);
  const conversation = conversationOf(served, options.prompt, messages, form);
  const { signal } = options;
  const [constraint] = conversation.grammar === null ? [] : await grammars().constrain(conversation.grammar, { count: 1, client: "", signal });
  try {
    const answer = new AnswerSum(answerParser(served, conversation));
    const pieces = generatePieces(served, { ...sampling, prompt: [...conversation.prompt] }, { constraint, kept: keptTokens(served) });
    for await (const piece of pieces) yield pieceOf(answer, piece);
  } finally {
    constraint?.[Symbol.dispose]();
  }
}

/** What an answer must look like. */
type AnswerForm = Pick<AnswerOptions, "tools" | "toolChoice" | "parallelToolCalls" | "responseFormat">;

/** @throws {LatentmeshError} `invalid_request` that names the option */
function conversationOf(
  served: ServedModel,
  prompt: AnswerOptions["prompt"],
  messages: AnswerOptions["messages"],
  form: AnswerForm,
): PreparedConversation {
  if (prompt !== undefined || messages === undefined) {
    const param = Object.entries(form).find(([, value]) => value !== undefined)![0];
    throw new LatentmeshError("invalid_request", `Cannot use ${param}: it is of conversations; give messages instead of a prompt`, { param });
  }
  const { id, vocabSize, tokenizer, chatTemplate, engine: { maxContext, maxPositions } } = served;
  const { tools, toolChoice, parallelToolCalls, responseFormat } = form;
  try {
    return answerForm({ id, vocabSize, tokenizer, chatTemplate, context: { maxContext, maxPositions } }, {
      messages: messagesOf(messages),
      tools: tools as ToolField[] | undefined,
      tool_choice: toolChoice as ToolChoiceField | undefined,
      parallel_tool_calls: parallelToolCalls,
      response_format: responseFormat as ResponseFormatField | undefined,
    });
  } catch (error) {
    if (!(error instanceof HttpError)) throw error;
    throw new LatentmeshError("invalid_request", inCamelCase(error.message), {
      param: inCamelCase(error.body.error.param ?? "") || undefined,
      cause: error,
    });
  }
}

/** Messages as every API has them, and what else a template may read of them. @throws {LatentmeshError} `invalid_request` that names the field */
function messagesOf(messages: NonNullable<AnswerOptions["messages"]>): Message[] {
  const isKnown = ([name]: [string, unknown]) => MESSAGE_FIELDS.has(name);
  const fieldsOf = (one: unknown) => typeof one === "object" && one !== null && !Array.isArray(one) ? Object.entries(one) : null;
  const known = Array.isArray(messages) ? messages.map((one) => ofEntries(fieldsOf(one)?.filter(isKnown)) ?? one) : messages;
  checkOptions(conversation, { messages: known }, { of: "generate", code: "invalid_request" });
  const parsed = conversation.parse({ messages: known }).messages;
  return parsed.map((one, i) => ({ ...ofEntries(fieldsOf(messages[i])!.filter((entry) => !isKnown(entry))), ...one }));
}

function ofEntries(entries: readonly [string, unknown][] | undefined): Record<string, unknown> | null {
  return entries === undefined ? null : Object.fromEntries(entries);
}

/** Names of fields as the library has them. */
function inCamelCase(text: string): string {
  return text.replace(
    /\b(tool_choice|response_format|parallel_tool_calls)\b/g,
    (name) => name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase()),
  );
}

/** A piece with what became certain of its text. */
function pieceOf(answer: AnswerSum, piece: GeneratedPiece): AnswerPiece {
  let [text, reasoning] = ["", ""];
  for (const part of answer.take(piece)) {
    if (part.kind === "content") text += part.text;
    if (part.kind === "reasoning") reasoning += part.text;
  }
  return { ...piece, text, reasoning, ...(piece.finishReason === null ? {} : { toolCalls: answer.calls }) };
}
