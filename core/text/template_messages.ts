/**
 * Conversations as a template takes them: what templates of different families expect of calls is found out by trying.
 *
 * @module
 */
import { parseWithNumbers } from "./json_numbers.ts";
import type { ChatMessage } from "./chat_message.ts";

/** What a template does with calls. */
export interface TemplateHabits {
  /** Arguments as objects, which it writes itself, or as the text of one, which it prints. */
  readonly arguments: "object" | "text";
  /** Whether it can do with messages that have calls and no content. */
  readonly contentMayBeNone: boolean;
}

/** A call as requests have it. */
interface Call {
  readonly function?: { readonly name?: string; readonly arguments?: unknown };
  readonly [key: string]: unknown;
}

const NAME = "latentmesh_probe";
const VALUE = "kettle";

/** Tries a template. @param render as the template does, which throws what it refuses */
export function templateHabits(render: (messages: readonly ChatMessage[]) => string): TemplateHabits {
  const attempt = (content: string | null, args: unknown): string | null => {
    try {
      const calls = [{ id: "call00000", type: "function", function: { name: "probe", arguments: args } }];
      return render([
        { role: "user", content: "Hi" },
        { role: "assistant", content, tool_calls: calls },
        { role: "tool", content: "done", tool_call_id: "call00000" },
      ]);
    } catch {
      return null;
    }
  };
  const object = attempt("", { [NAME]: VALUE });
  // Python's own way to print a mapping is no JSON: such a template prints what it is given.
  const asObject = object !== null && object.includes(NAME) && object.includes(VALUE) && !object.includes(`'${NAME}': `);
  const args = asObject ? { [NAME]: VALUE } : JSON.stringify({ [NAME]: VALUE });
  const none = attempt(null, args);
  return { arguments: asObject ? "object" : "text", contentMayBeNone: none !== null && !none.includes("None") };
}

/** The same messages, with calls as the template wants them. */
export function templateMessages(messages: readonly ChatMessage[], habits: TemplateHabits): ChatMessage[] {
  return messages.map((message) => {
    const { tool_calls: calls } = message;
    if (!Array.isArray(calls)) return message;
    return {
      ...message,
      content: message.content === null && !habits.contentMayBeNone ? "" : message.content,
      tool_calls: (calls as readonly Call[]).map((call) => withArguments(call, habits)),
    };
  });
}

function withArguments(call: Call, habits: TemplateHabits): Call {
  const given = call.function?.arguments;
  if (typeof given !== "string") return call;
  // No arguments at all are an object without any.
  const text = given.trim() === "" ? "{}" : given;
  return { ...call, function: { ...call.function, arguments: habits.arguments === "object" ? objectOf(text) : text } };
}

/** The object that a text is; the text itself if it is none. */
function objectOf(text: string): unknown {
  try {
    const value = parseWithNumbers(text);
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : text;
  } catch {
    return text;
  }
}
