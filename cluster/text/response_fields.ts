/**
 * A request for a response as a conversation, and what the response repeats of it.
 *
 * @module
 */
import { HttpError, shortened } from "../api/errors.ts";
import { allowedFunctions, nameIn, type OfferedTools, offeredTools } from "./offered_tools.ts";
import { joinTurns } from "./turns.ts";
import type { ConversationFields, FieldNames } from "./jobs.ts";
import type { Message, ResponseFormatField, ToolChoiceField } from "../api/conversation_schema.ts";
import { parseItem, type ResponsesRequest } from "../api/responses_schema.ts";

/** Between what is said in a row: each is a text by itself. */
const BETWEEN = "\n\n";

/** Characters of items that one request may refer to: more than any context holds, and each reference costs its sender next to nothing. */
const MOST_REFERRED = 1 << 23;

/** What the fields are called. */
export const RESPONSE_FIELDS: FieldNames = { prompt: "input", form: "text.format", tools: "tools", continues: "input" };

/** The conversation that a response continues, and what became of its tools. */
export interface ResponseConversation extends Pick<OfferedTools, "namespaces" | "leftOut"> {
  readonly fields: ConversationFields;
}

/**
 * The conversation that a response continues.
 *
 * @param kept JSON of the items that it refers to
 * @throws {HttpError} 400 if what must be called is not there, or what it refers to is too long
 */
export function conversationOf(
  request: ResponsesRequest,
  kept: Readonly<Record<string, string>>,
): ResponseConversation {
  const { input, instructions, tool_choice: choice, parallel_tool_calls, text, reasoning, chat_template_kwargs } = request;
  checkReferred(request, kept);
  const said: Message[] = typeof input === "string" ? [{ role: "user", content: input }] : input.flatMap((item) => messagesOf(item, kept));
  const messages = joinTurns(instructions === undefined ? said : [{ role: "system", content: instructions }, ...said], BETWEEN);
  const { functions, namespaces, leftOut } = offeredTools(request.tools);
  return {
    fields: {
      // Reasoning that led to nothing is no turn.
      messages: messages.filter(({ role, content, tool_calls }) => role !== "assistant" || content !== undefined || tool_calls !== undefined),
      tools: allowedFunctions(functions, choice).map(({ name, description, parameters, strict }) => ({
        type: "function",
        function: { name, description, parameters, strict },
      })),
      tool_choice: choiceOf(choice),
      parallel_tool_calls,
      response_format: formatOf(text?.format),
      reasoning_effort: reasoning?.effort,
      chat_template_kwargs,
    },
    namespaces,
    leftOut,
  };
}

/** @throws {HttpError} 400 if a tool must be called that is left out */
function choiceOf(choice: ResponsesRequest["tool_choice"]): ToolChoiceField | undefined {
  if (typeof choice !== "object") return choice;
  if ("mode" in choice) return choice.mode;
  if (!("missing" in choice)) return choice;
  throw new HttpError(400, `"tool_choice" asks for a tool of type "${shortened(choice.type)}"; only functions are here`, {
    param: "tool_choice",
    code: "invalid_value",
  });
}

type InputItem = Exclude<ResponsesRequest["input"], string>[number];

/** Items that a request refers to by their names. */
export function referencesOf({ input }: ResponsesRequest): string[] {
  return typeof input === "string" ? [] : input.flatMap((item) => item.type === "item_reference" ? [item.id] : []);
}

/** @throws {HttpError} 400 */
function checkReferred(request: ResponsesRequest, kept: Readonly<Record<string, string>>): void {
  const referred = referencesOf(request).reduce((sum, id) => sum + (kept[id]?.length ?? 0), 0);
  if (referred <= MOST_REFERRED) return;
  throw new HttpError(400, `The items that "input" refers to have ${referred} characters together; the most are ${MOST_REFERRED}`, {
    param: "input",
    code: "context_length_exceeded",
  });
}

function messagesOf(item: InputItem, kept: Readonly<Record<string, string>>): Message[] {
  switch (item.type) {
    case "item_reference":
      return messagesOf(parseItem(item.id, kept[item.id]), {});
    case "message":
      return [{ role: item.role === "developer" ? "system" : item.role, content: item.content }];
    case "function_call":
      return [{
        role: "assistant",
        tool_calls: [{ id: item.call_id, type: "function", function: { name: nameIn(item.namespace, item.name), arguments: item.arguments } }],
      }];
    case "function_call_output":
      return [{ role: "tool", content: item.output, tool_call_id: item.call_id }];
    case "reasoning": {
      // The template says what becomes of it.
      const { content = [], summary = [] } = item;
      const text = (content.length > 0 ? content : summary).map(({ text }) => text).join("\n\n");
      return text === "" ? [] : [{ role: "assistant", reasoning_content: text }];
    }
    default:
      return item satisfies never;
  }
}

function formatOf(format: NonNullable<ResponsesRequest["text"]>["format"]): ResponseFormatField | undefined {
  if (format?.type !== "json_schema") return format;
  const { name, description, schema, strict } = format;
  return { type: "json_schema", json_schema: { name, description, schema, strict } };
}

/** Fields of a response that say what was asked for: JSON without the braces around it. */
export function responseEcho(request: ResponsesRequest, model: string): Uint8Array<ArrayBuffer> {
  const fields = {
    model,
    background: false,
    instructions: request.instructions ?? null,
    max_output_tokens: request.max_output_tokens ?? null,
    metadata: request.metadata ?? {},
    parallel_tool_calls: request.parallel_tool_calls ?? true,
    previous_response_id: null,
    store: storesItems(request),
    temperature: request.temperature ?? null,
    text: { format: request.text?.format ?? { type: "text" } },
    tool_choice: echoOf(request.tool_choice),
    tools: request.tools?.filter((tool) => tool.type === "function" || tool.type === "namespace") ?? [],
    reasoning: { effort: request.reasoning?.effort ?? null, summary: null },
    service_tier: "default",
    top_p: request.top_p ?? null,
    truncation: "disabled",
  };
  return new TextEncoder().encode(JSON.stringify(fields).slice(1, -1));
}

/** Whether the items of a response may be kept for a while. */
export function storesItems({ store }: ResponsesRequest): boolean {
  return store !== false;
}

/** A choice as it was sent. */
function echoOf(choice: ResponsesRequest["tool_choice"] = "auto"): unknown {
  return typeof choice === "object" && "function" in choice ? { type: "function", name: choice.function.name } : choice;
}
