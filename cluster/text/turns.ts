/**
 * Turns of a conversation, where an API sends them in parts.
 *
 * @module
 */
import type { Message } from "../api/conversation_schema.ts";

/**
 * Joins what the assistant says and calls in a row into one turn, and what the user says, as templates expect turns to alternate.
 *
 * @param between texts of the user; null: those stay as they are
 */
export function joinTurns(messages: readonly Message[], between: string | null): Message[] {
  const turns: Message[] = [];
  for (const message of messages) {
    const last = turns.at(-1);
    if (last?.role === "assistant" && message.role === "assistant") turns[turns.length - 1] = joined(last, message);
    else if (between !== null && last?.role === "user" && message.role === "user") {
      turns[turns.length - 1] = { role: "user", content: `${last.content}${between}${message.content}` };
    } else turns.push(message);
  }
  return turns;
}

/** One turn of the assistant's out of two parts of it. */
function joined(first: Message, second: Message): Message {
  const texts = (name: "content" | "reasoning_content") => [first[name], second[name]].filter((text) => text !== undefined) as string[];
  const [contents, reasoning] = [texts("content"), texts("reasoning_content")];
  const calls = [...first.tool_calls ?? [], ...second.tool_calls ?? []];
  return {
    role: "assistant",
    ...(contents.length === 0 ? {} : { content: contents.join("") }),
    ...(reasoning.length === 0 ? {} : { reasoning_content: reasoning.join("\n\n") }),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}
