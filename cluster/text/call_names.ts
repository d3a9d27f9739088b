/**
 * Names of earlier calls, as a model's template wants them: clients keep the names that they were given, whatever model they were given by.
 *
 * @module
 */
import type { Message } from "../api/conversation_schema.ts";
import type { ToolFormat } from "../../core/text/answers/tool_format.ts";

/** The same conversation, its calls and their results renamed where the format says how calls are named. */
export function nameCalls(format: ToolFormat, messages: readonly Message[]): readonly Message[] {
  if (format.callId === undefined) return messages;
  const names = new Map<string, string>();
  const taken = new Set<string>();
  let number = 0;
  const rename = (id: string, name: string): string => {
    let named = format.callId!({ id, name, number });
    // Two names may have the same end.
    if (taken.has(named)) named = format.callId!({ id: "", name, number });
    taken.add(named);
    number++;
    names.set(id, named);
    return named;
  };
  return messages.map((message): Message => {
    if (message.tool_calls !== undefined) {
      return { ...message, tool_calls: message.tool_calls.map((call) => ({ ...call, id: rename(call.id, call.function.name) })) };
    }
    const { tool_call_id: id } = message;
    return id === undefined ? message : { ...message, tool_call_id: names.get(id) ?? id };
  });
}
