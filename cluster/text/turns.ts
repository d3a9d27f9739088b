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
  const turns: Message[][] = [];
  for (const message of messages) {
    const last = turns.at(-1);
    if (last?.[0].role !== message.role || message.role === "tool") turns.push([message]);
    else last.push(message);
  }
  return turns.map((turn) => turn.length === 1 ? turn[0] : joined(turn, between));
}

/** All at once: joined one after the other, a long turn would be copied for each of its messages. */
function joined(turn: readonly Message[], between: string): Message {
  const texts = (name: "content" | "reasoning_content") => turn.map((message) => message[name]).filter((text) => text !== undefined) as string[];
  const [contents, reasoning] = [texts("content"), texts("reasoning_content")];
  const calls = turn.flatMap(({ tool_calls }) => tool_calls ?? []);
  return {
    role: turn[0].role,
    ...(contents.length === 0 ? {} : { content: contents.filter((text) => text !== "").join(between) }),
    ...(reasoning.length === 0 ? {} : { reasoning_content: reasoning.join(between) }),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}
