/**
 * Body of `POST /v1/responses`, as far as a server without memory can honour it.
 *
 * @module
 */
import { z } from "zod";
import { toolChoice } from "./conversation_schema.ts";
import { only, optional, priority, withoutEffect } from "./fields.ts";

const part = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("input_text"), text: z.string() }),
  z.looseObject({ type: z.literal("output_text"), text: z.string() }),
]);
const content = z.union([z.string(), z.array(part).transform((parts) => parts.map(({ text }) => text).join(""))]);
const name = z.string().regex(/^[\w.-]{1,64}$/, "must be 1 to 64 letters, digits, dots, dashes or underscores");
const id = optional(z.string());

/** What is said before the answer: messages, calls of tools and what they gave. */
const item = z.union([
  z.strictObject({ type: z.literal("function_call"), id, call_id: z.string(), name, arguments: z.string(), status: optional(z.string()) }),
  z.strictObject({ type: z.literal("function_call_output"), id, call_id: z.string(), output: content, status: optional(z.string()) }),
  z.looseObject({ type: z.literal("reasoning") }),
  z.strictObject({
    type: only("message"),
    id,
    status: optional(z.string()),
    role: z.enum(["system", "developer", "user", "assistant"]),
    content,
  }),
]);

const schema = z.record(z.string(), z.unknown());

/** The form of the answer. */
const format = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  z.strictObject({ type: z.literal("json_schema"), name, description: optional(z.string()), schema, strict: optional(z.boolean()) }),
]);

/** Body of `POST /v1/responses`. */
export const responsesRequest = z.strictObject({
  model: optional(z.string()),
  input: z.union([z.string(), z.array(item).min(1).max(4096)]),
  instructions: optional(z.string()),
  max_output_tokens: optional(z.int().min(1).max(2 ** 31)),
  temperature: optional(z.number().min(0).max(2)),
  top_p: optional(z.number().min(0).max(1)),
  priority,
  stream: optional(z.boolean()),
  tools: optional(
    z.array(z.strictObject({
      type: z.literal("function"),
      name,
      description: optional(z.string()),
      parameters: optional(schema),
      strict: optional(z.boolean()),
    })).max(128),
  ),
  tool_choice: optional(z.union([
    toolChoice,
    z.strictObject({ type: z.literal("function"), name }).transform(({ name }) => ({ type: "function" as const, function: { name } })),
  ])),
  parallel_tool_calls: optional(z.boolean()),
  text: optional(z.strictObject({ format: optional(format), verbosity: optional(z.unknown()) })),
  ...withoutEffect,
  metadata: optional(z.record(z.string().max(64), z.string().max(512))),
  include: optional(z.array(z.string()).max(0, "nothing can be included")),
  truncation: only("disabled"),
  background: only(false),
  service_tier: only("auto", "default"),
});

/** A parsed body. */
export type ResponsesRequest = z.output<typeof responsesRequest>;
