/**
 * Conversations, tools and forms of answers in request bodies.
 *
 * @module
 */
import { z } from "zod";
import { TEMPLATE_VARIABLES } from "../../core/text/chat_template.ts";
import { ignored, ofParameters, optional, withoutEffectInMessages } from "./fields.ts";

/** What `@openai/agents` repeats of a message in its parts. */
const repeated = { role: ignored, reasoning_content: ignored, tool_calls: ignored } as const;
const textPart = z.strictObject({ type: z.literal("text"), text: z.string(), ...withoutEffectInMessages, ...repeated });
const refusalPart = z.strictObject({ type: z.literal("refusal"), refusal: z.string(), ...repeated });
const text = z.union([z.string(), z.array(textPart).transform((parts) => parts.map(({ text }) => text).join(""))]);
const answer = z.union([
  z.string(),
  z.array(z.discriminatedUnion("type", [textPart, refusalPart])).transform((parts) =>
    parts.map((part) => part.type === "text" ? part.text : part.refusal).join("")
  ),
]);
const name = z.string().regex(/^[\w.-]{1,128}$/, "must be 1 to 128 letters, digits, dots, dashes or underscores");

const toolCall = z.strictObject({
  id: z.string().max(256),
  type: z.literal("function"),
  function: z.strictObject({ name, arguments: z.string() }),
  /** Of a stream's pieces, which clients put together and send back. */
  index: optional(z.int()),
}).transform(({ index: _, ...call }) => call);

const spoken = { content: text, name: optional(z.string()), ...withoutEffectInMessages };

/** A message of a conversation. */
export interface Message {
  readonly role: "system" | "user" | "assistant" | "tool";
  /** Missing where the assistant only called tools. */
  readonly content?: string;
  readonly tool_calls?: readonly z.output<typeof toolCall>[];
  readonly tool_call_id?: string;
  readonly [key: string]: unknown;
}

/** Names that fields of messages have, whoever says them. */
export const MESSAGE_FIELDS: ReadonlySet<string> = new Set([
  "role",
  "content",
  "name",
  "tool_calls",
  "tool_call_id",
  "reasoning_content",
  "refusal",
  "function_call",
  "audio",
  ...Object.keys(withoutEffectInMessages),
]);

/** One message. OpenAI's newer name for the system is turned into the older one, which templates know. */
export const message = z.discriminatedUnion("role", [
  z.strictObject({ role: z.literal("system"), ...spoken }),
  z.strictObject({ role: z.literal("developer"), ...spoken }),
  z.strictObject({ role: z.literal("user"), ...spoken }),
  z.strictObject({
    role: z.literal("assistant"),
    content: optional(answer),
    name: optional(z.string()),
    tool_calls: optional(z.array(toolCall).max(128)),
    /** Earlier reasoning: templates decide what becomes of it. */
    reasoning_content: optional(z.string()),
    refusal: optional(z.null()),
    function_call: optional(z.null()),
    audio: optional(z.null()),
    ...withoutEffectInMessages,
  }),
  z.strictObject({
    role: z.literal("tool"),
    content: text,
    tool_call_id: z.string().max(256),
    name: optional(z.string()),
    ...withoutEffectInMessages,
  }),
]).transform((fields): Message => {
  const reaches = ([name, value]: [string, unknown]) => value !== undefined && !(name in withoutEffectInMessages);
  const given = Object.fromEntries(Object.entries(fields).filter(reaches)) as typeof fields;
  return { ...given, role: fields.role === "developer" ? "system" : fields.role } as Message;
});

const schema = z.record(z.string(), z.unknown());

/** One tool. */
export const tool = z.strictObject({
  type: z.literal("function"),
  function: z.strictObject({
    name,
    description: optional(z.string().max(1 << 16)),
    parameters: optional(ofParameters(schema)),
    strict: optional(z.boolean()),
  }),
});

/** Which tools must be called. */
export const toolChoice = z.union([
  z.enum(["none", "auto", "required"]),
  z.strictObject({ type: z.literal("function"), function: z.strictObject({ name }) }),
]);

/** What the answer looks like. */
export const responseFormat = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  z.strictObject({
    type: z.literal("json_schema"),
    json_schema: z.strictObject({ name, description: optional(z.string()), schema: optional(schema), strict: optional(z.boolean()) }),
  }),
]);

/** How much is to be reasoned; `none`: not at all. */
export const reasoningEffort = z.enum(["none", "minimal", "low", "medium", "high", "xhigh", "max"]);

/** Variables of the chat template, as vLLM has them. Not copied: how its numbers were written is known by the object. */
export const templateVariables = z.custom<Readonly<Record<string, unknown>>>(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  "must be an object",
).superRefine((variables, context) => {
  const refuse = (name: string, message: string) => context.addIssue({ code: "custom", message, path: [name] });
  for (const name of Object.keys(variables)) {
    if ((TEMPLATE_VARIABLES as readonly string[]).includes(name)) return refuse(name, "is the server's to set");
    if (!/^[A-Za-z]\w{0,63}$/.test(name)) return refuse(name, "is no name of a variable");
  }
});

/** Parsed parts. */
export type ReasoningEffort = z.output<typeof reasoningEffort>;
export type ToolField = z.output<typeof tool>;
export type ToolChoiceField = z.output<typeof toolChoice>;
export type ResponseFormatField = z.output<typeof responseFormat>;
