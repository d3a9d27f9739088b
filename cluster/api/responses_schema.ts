/**
 * Body of `POST /v1/responses`, as far as a server without memory can honour it.
 *
 * @module
 */
import { z } from "zod";
import { problemOf } from "../../core/expected.ts";
import { HttpError, shortened } from "./errors.ts";
import { reasoningEffort, templateVariables, toolChoice } from "./conversation_schema.ts";
import { ignored, ofParameters, only, optional, priority, speculate, withoutEffect } from "./fields.ts";

const part = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("input_text"), text: z.string(), prompt_cache_breakpoint: ignored }),
  z.looseObject({ type: z.literal("output_text"), text: z.string() }),
  z.strictObject({ type: z.literal("refusal"), refusal: z.string() }).transform(({ refusal }) => ({ type: "refusal" as const, text: refusal })),
]);
const content = z.union([z.string(), z.array(part).transform((parts) => parts.map(({ text }) => text).join(""))]);
const name = z.string().regex(/^[\w.-]{1,128}$/, "must be 1 to 128 letters, digits, dots, dashes or underscores");
/** Names and states of items, and by whom functions were called: nothing is looked up by them. */
const aside = { id: ignored, status: ignored, caller: ignored } as const;

/** What is said before the answer: messages, calls of tools and what they gave, reasoning. */
const item = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("function_call"), call_id: z.string(), name, namespace: optional(name), arguments: z.string(), ...aside }),
  z.strictObject({ type: z.literal("function_call_output"), call_id: z.string(), output: content, ...aside }),
  z.strictObject({
    type: z.literal("reasoning"),
    summary: optional(z.array(z.object({ text: z.string() }))),
    content: optional(z.array(z.object({ text: z.string() }))),
    encrypted_content: ignored,
    ...aside,
  }),
  z.strictObject({ type: z.literal("item_reference"), id: z.string().max(256) }),
  z.strictObject({ type: z.literal("message"), role: z.enum(["system", "developer", "user", "assistant"]), content, phase: ignored, ...aside }),
]);

/** Messages may come without saying that they are. */
const anyItem = z.preprocess(
  (value) => typeof value === "object" && value !== null && "role" in value && !("type" in value) ? { ...value, type: "message" } : value,
  item,
);

const schema = z.record(z.string(), z.unknown());

/** The form of the answer. */
const format = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  z.strictObject({ type: z.literal("json_schema"), name, description: optional(z.string()), schema, strict: optional(z.boolean()) }),
]);

const functionTool = z.strictObject({
  type: z.literal("function"),
  name,
  description: optional(z.string()),
  parameters: optional(ofParameters(schema)),
  strict: optional(z.boolean()),
  allowed_callers: ignored,
  defer_loading: ignored,
  output_schema: ignored,
});

/** A tool that OpenAI runs or its models know, which is left out here. */
const otherTool = z.looseObject({ type: z.string().refine((type) => type !== "function" && type !== "namespace", { abort: true }) });

/** Tools of one source, as Codex sends those of its servers. */
const namespace = z.strictObject({
  type: z.literal("namespace"),
  name,
  description: ignored,
  tools: z.array(z.union([functionTool, otherTool])).max(512),
});

const tool = z.union([functionTool, namespace, otherTool]);

const namedFunction = z.strictObject({ type: z.literal("function"), name });
const choice = z.union([
  toolChoice,
  namedFunction.transform(({ name }) => ({ type: "function" as const, function: { name } })),
  z.looseObject({ type: z.string().refine((type) => type !== "function" && type !== "allowed_tools", { abort: true }) }).transform(({ type }) => ({
    type,
    missing: true as const,
  })),
  z.strictObject({ type: z.literal("allowed_tools"), mode: z.enum(["auto", "required"]), tools: z.array(namedFunction).min(1).max(512) }),
]);

/** What else may be in an answer: nothing of it ever is. */
const includable = z.enum([
  "file_search_call.results",
  "web_search_call.results",
  "web_search_call.action.sources",
  "message.input_image.image_url",
  "computer_call_output.output.image_url",
  "code_interpreter_call.outputs",
  "reasoning.encrypted_content",
]);

/** Body of `POST /v1/responses`. */
export const responsesRequest = z.strictObject({
  model: optional(z.string()),
  input: z.union([z.string(), z.array(anyItem).min(1).max(4096)]),
  instructions: optional(z.string()),
  max_output_tokens: optional(z.int().min(1).max(2 ** 31)),
  temperature: optional(z.number().min(0).max(2)),
  top_p: optional(z.number().min(0).max(1)),
  priority,
  speculate,
  stream: optional(z.boolean()),
  stream_options: optional(z.strictObject({ include_obfuscation: ignored })),
  tools: optional(z.array(tool).max(512)),
  tool_choice: optional(choice),
  parallel_tool_calls: optional(z.boolean()),
  max_tool_calls: ignored,
  text: optional(z.strictObject({ format: optional(format), verbosity: ignored })),
  reasoning: optional(
    z.strictObject({
      effort: optional(reasoningEffort),
      summary: ignored,
      generate_summary: ignored,
      context: ignored,
      mode: only("standard"),
    }),
  ),
  chat_template_kwargs: optional(templateVariables),
  ...withoutEffect,
  metadata: optional(z.record(z.string().max(64), z.string().max(512))),
  include: optional(z.array(includable)),
  truncation: only("disabled"),
  background: only(false),
});

/** An item that was kept under a name, as it was answered. @throws {HttpError} 400 if it cannot be a part of a request, as what a model has called may be */
export function parseItem(id: string, json: string): z.output<typeof item> {
  const value: unknown = JSON.parse(json);
  const parsed = item.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const problem = `${issue.path.length === 0 ? "" : `${issue.path.join(".")}: `}${problemOf(item, issue, value)}`;
  throw new HttpError(400, `The item "${shortened(id)}" that "input" refers to cannot be used: ${problem}`, {
    param: "input",
    code: "invalid_value",
  });
}

/** Parsed parts. */
export type FunctionTool = z.output<typeof functionTool>;
export type NamespaceTool = z.output<typeof namespace>;

/** A parsed body. */
export type ResponsesRequest = z.output<typeof responsesRequest>;
