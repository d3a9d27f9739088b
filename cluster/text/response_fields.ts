/**
 * A request for a response as a conversation, and what the response repeats of it.
 *
 * @module
 */
import type { ConversationFields, FieldNames } from "./jobs.ts";
import type { Message, ResponseFormatField } from "../api/conversation_schema.ts";
import type { ResponsesRequest } from "../api/responses_schema.ts";

/** What the fields are called. */
export const RESPONSE_FIELDS: FieldNames = { prompt: "input", form: "text.format", tools: "tools", continues: "input" };

/** The conversation that a response continues. */
export function conversationOf({ input, instructions, tools, tool_choice, parallel_tool_calls, text }: ResponsesRequest): ConversationFields {
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
    store: false,
    temperature: request.temperature ?? null,
    text: { format: request.text?.format ?? { type: "text" } },
    tool_choice: request.tool_choice ?? "auto",
    tools: request.tools ?? [],
    top_p: request.top_p ?? null,
    truncation: "disabled",
  };
  return new TextEncoder().encode(JSON.stringify(fields).slice(1, -1));
}
