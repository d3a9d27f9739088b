/**
 * A request of Anthropic's Messages API as a conversation.
 *
 * @module
 */
import { writeWithNumbers } from "../../core/text/json_numbers.ts";
import type { Message, ReasoningEffort, ResponseFormatField, ToolChoiceField, ToolField } from "../api/conversation_schema.ts";
import { HttpError, shortened } from "../api/errors.ts";
import type { MessagesConversation } from "../api/messages_schema.ts";
import type { ConversationFields, FieldNames } from "./jobs.ts";
import { joinTurns } from "./turns.ts";

/** What the fields are called. */
export const MESSAGES_FIELDS: FieldNames = { prompt: "messages", form: "output_config.format", tools: "tools", continues: "messages" };

type AnyMessage = MessagesConversation["messages"][number];
type Blocks<R extends AnyMessage["role"]> = Extract<AnyMessage, { role: R }>["content"];
type AnyTool = NonNullable<MessagesConversation["tools"]>[number];
type OwnTool = Extract<AnyTool, { input_schema: object }>;

/** Between blocks of what a user or the system says: each is a text by itself. */
const BETWEEN = "\n\n";

/** The conversation that a message answers, and the types of tools that are left out of it. @throws {HttpError} 400 if what must be called is left out */
export function conversationOfMessages(request: MessagesConversation): { readonly fields: ConversationFields; readonly leftOut: readonly string[] } {
  const { system, tools = [], tool_choice: choice, thinking, output_config: output } = request;
  const own = tools.filter((tool): tool is OwnTool => tool.input_schema !== undefined);
  const others = tools.filter((tool) => tool.input_schema === undefined);
  const first: Message[] = system === undefined ? [] : [{ role: "system", content: system.join(BETWEEN) }];
  const messages = joinTurns([...first, ...request.messages.flatMap(messagesOf)], BETWEEN);
  const form = output?.format ?? request.output_format;
  const last = messages.at(-1)!;
  return {
    fields: {
      messages,
      tools: own.map(toolOf),
      tool_choice: choiceOf(choice, others),
      parallel_tool_calls: choice !== undefined && "disable_parallel_tool_use" in choice ? choice.disable_parallel_tool_use !== true : undefined,
      response_format: form === undefined ? undefined : formOf(form.schema),
      // What the assistant has begun to say goes on.
      continue_final_message: last.role === "assistant" && last.tool_calls === undefined && (last.content ?? "").trim() !== "",
      reasoning_effort: effortOf(thinking, output?.effort),
    },
    leftOut: [...new Set(others.map(({ type }) => type as string))],
  };
}

function formOf(schema: Record<string, unknown>): ResponseFormatField {
  return { type: "json_schema", json_schema: { name: "answer", description: undefined, schema, strict: true } };
}

/** Without a word of thinking, the template's own way holds. */
function effortOf(thinking: MessagesConversation["thinking"], effort: ReasoningEffort | undefined): ReasoningEffort | undefined {
  if (thinking?.type === "disabled") return "none";
  return effort ?? (thinking === undefined ? undefined : "high");
}

function messagesOf({ role, content }: AnyMessage): Message[] {
  switch (role) {
    case "system":
      return [{ role, content: (content as Blocks<"system">).join(BETWEEN) }];
    case "user":
      return (content as Blocks<"user">).map((block): Message =>
        block.type === "text"
          ? { role, content: block.text }
          : { role: "tool", content: resultOf(block.content ?? [], block.is_error), tool_call_id: block.tool_use_id }
      );
    case "assistant":
      return [answerOf(content as Blocks<"assistant">)];
    default:
      return role satisfies never;
  }
}

/** A result; conversations have no other place to say that it is an error. */
function resultOf(texts: readonly string[], isError: boolean | undefined): string {
  const text = texts.join(BETWEEN);
  return isError && !/^\W*error/i.test(text) ? `Error: ${text}` : text;
}

function answerOf(blocks: Blocks<"assistant">): Message {
  const calls = blocks.flatMap((block) =>
    block.type === "tool_use"
      ? [{ id: block.id, type: "function" as const, function: { name: block.name, arguments: writeWithNumbers(block.input) } }]
      : []
  );
  const content = blocks.map((block) => block.type === "text" ? block.text : "").join("");
  const reasoning = blocks.map((block) => block.type === "thinking" ? block.thinking : "").join("");
  return {
    role: "assistant",
    ...(content === "" && calls.length > 0 ? {} : { content }),
    ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}

function toolOf({ name, description, input_schema: schema, input_examples: examples, strict }: OwnTool): ToolField {
  const parameters = examples === undefined ? schema : { ...schema, examples };
  return { type: "function", function: { name, description, parameters, strict } };
}

function choiceOf(choice: MessagesConversation["tool_choice"], leftOut: readonly AnyTool[]): ToolChoiceField | undefined {
  switch (choice?.type) {
    case undefined:
      return undefined;
    case "auto":
    case "none":
      return choice.type;
    case "any":
      return "required";
    case "tool": {
      const other = leftOut.find(({ name }) => name === choice.name);
      if (other === undefined) return { type: "function", function: { name: choice.name } };
      throw new HttpError(
        400,
        `"tool_choice" names "${shortened(choice.name)}", but tools of type "${shortened(other.type as string)}" are not here`,
        {
          param: "tool_choice",
          code: "invalid_value",
        },
      );
    }
    default:
      return choice satisfies never;
  }
}
