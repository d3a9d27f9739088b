/**
 * Turns of a conversation, where an API sends them in parts.
 *
 * @module
 */
import type { Message } from "../api/conversation_schema.ts";

/**
 * Joins what is said in a row by one and the same into one turn, as templates expect turns to alternate: the assistant's reasoning, text and calls, what the user
 * says, and the system. Results of tools stay apart.
 *
 * @param between texts
 */
export function joinTurns(messages: readonly Message[], between: string): Message[] {
  const turns: Message[] = [];
  for (const message of messages) {
    const last = turns.at(-1);
    if (last?.role !== message.role || message.role === "tool") turns.push(message);
    else turns[turns.length - 1] = joined(last, message, between);
  }
  return turns;
}

function joined(first: Message, second: Message, between: string): Message {
  const texts = (name: "content" | "reasoning_content") => [first[name], second[name]].filter((text) => text !== undefined) as string[];
  const [contents, reasoning] = [texts("content"), texts("reasoning_content")];
  const calls = [...first.tool_calls ?? [], ...second.tool_calls ?? []];
  return {
    role: first.role,
    ...(contents.length === 0 ? {} : { content: contents.filter((text) => text !== "").join(between) }),
    ...(reasoning.length === 0 ? {} : { reasoning_content: reasoning.join(between) }),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}
