/**
 * Body of `POST /v1/messages`, Anthropic's, as far as one model that reads text can honour it.
 *
 * @module
 */
import { z } from "zod";
import { MOST_STOP_LENGTH, MOST_STOPS } from "../../core/text/stop.ts";
import { ignored, ofParameters, only, optional, priority, speculate } from "./fields.ts";

/** What clients say of caching and of who may call, which changes no answer: every prefix is cached, and only the model calls. */
const withoutEffect = { cache_control: ignored, citations: ignored, caller: ignored, toolset_name: ignored } as const;

const id = z.string().max(256);
const name = z.string().regex(/^[\w.-]{1,128}$/, "must be 1 to 128 letters, digits, dots, dashes or underscores");
/** Looked at, but not copied: how its numbers were written is known by the object. */
const anyObject = z.custom<Record<string, unknown>>(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  "must be an object",
);

const textBlock = z.strictObject({ type: z.literal("text"), text: z.string(), ...withoutEffect });
const texts = z.union([z.string().transform((text) => [text]), z.array(textBlock).transform((blocks) => blocks.map(({ text }) => text))]);

const toolResult = z.strictObject({
  type: z.literal("tool_result"),
  tool_use_id: id,
  content: optional(texts),
  is_error: optional(z.boolean()),
  ...withoutEffect,
});

const said = z.discriminatedUnion("type", [textBlock, toolResult]);
const answered = z.discriminatedUnion("type", [
  textBlock,
  z.strictObject({ type: z.literal("thinking"), thinking: z.string(), signature: optional(z.string()) }),
  z.strictObject({ type: z.literal("redacted_thinking"), data: z.string() }),
  z.strictObject({ type: z.literal("tool_use"), id, name, input: anyObject, ...withoutEffect }),
]);

const blocksOf = <T extends z.ZodType>(block: T) =>
  z.union([z.string().transform((text) => [{ type: "text" as const, text }]), z.array(block).max(4096)]);

const message = z.discriminatedUnion("role", [
  z.strictObject({ role: z.literal("user"), content: blocksOf(said) }),
  z.strictObject({ role: z.literal("assistant"), content: blocksOf(answered) }),
  z.strictObject({ role: z.literal("system"), content: texts }),
]);

/** A tool of the client's own, or one that Anthropic's models know or Anthropic runs, which is left out here. */
const tool = z.union([
  z.strictObject({
    name,
    type: only("custom"),
    description: optional(z.string().max(1 << 16)),
    input_schema: ofParameters(anyObject),
    strict: optional(z.boolean()),
    cache_control: ignored,
    eager_input_streaming: ignored,
    input_examples: optional(z.array(anyObject)),
    allowed_callers: ignored,
    defer_loading: ignored,
  }),
  z.looseObject({
    type: z.string().refine((type) => type !== "custom", { abort: true }),
    name: optional(z.string()),
    input_schema: z.undefined().optional(),
  }),
]);

const parallel = { disable_parallel_tool_use: optional(z.boolean()) } as const;
const toolChoice = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("auto"), ...parallel }),
  z.strictObject({ type: z.literal("any"), ...parallel }),
  z.strictObject({ type: z.literal("tool"), name: z.string(), ...parallel }),
  z.strictObject({ type: z.literal("none") }),
]);

/** How much is thought is up to the model; how it is shown, too. */
const thinking = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("enabled"), budget_tokens: optional(z.int().min(1)), display: ignored }),
  z.strictObject({ type: z.literal(["adaptive", "between_tools"]), display: ignored }),
  z.strictObject({ type: z.literal("disabled") }),
]);

const form = z.strictObject({ type: z.literal("json_schema"), schema: anyObject });

/** What the prompt is made of. */
const conversation = {
  model: optional(z.string().max(1024)),
  messages: z.array(message).min(1).max(4096),
  system: optional(texts),
  tools: optional(z.array(tool).max(512)),
  tool_choice: optional(toolChoice),
  thinking: optional(thinking),
  output_config: optional(z.strictObject({ effort: optional(z.enum(["low", "medium", "high", "xhigh", "max"])), format: optional(form) })),
  output_format: optional(form),
  /** What it clears of earlier thinking is the template's to say. */
  context_management: optional(z.strictObject({
    edits: optional(z.array(z.looseObject({ type: z.literal("clear_thinking_20251015") }))),
  })),
  cache_control: ignored,
} as const;

/** Body of `POST /v1/messages`. */
export const messagesRequest = z.strictObject({
  ...conversation,
  max_tokens: z.int().min(1).max(2 ** 31),
  temperature: optional(z.number().min(0).max(2)),
  top_p: optional(z.number().min(0).max(1)),
  top_k: optional(z.int().min(0).max(2 ** 31)),
  stop_sequences: optional(z.array(z.string().min(1).max(MOST_STOP_LENGTH)).max(MOST_STOPS)),
  stream: optional(z.boolean()),
  priority,
  speculate,
  metadata: ignored,
  diagnostics: ignored,
  inference_geo: ignored,
  user_profile_id: ignored,
  /** Nothing is kept: a thread may begin, which changes no answer, and cannot be continued. */
  thread: optional(z.discriminatedUnion("type", [
    z.strictObject({ type: z.literal("create") }),
    z.strictObject({ type: z.literal("continue"), previous_message_id: z.string() }),
  ])),
  service_tier: only("auto", "standard_only"),
  speed: only("standard"),
});

/** Body of `POST /v1/messages/count_tokens`. */
export const countTokensRequest = z.strictObject({ ...conversation, speed: only("standard") });

/** Parsed bodies. */
export type MessagesRequest = z.output<typeof messagesRequest>;
/** What of them the prompt is made of. */
export type MessagesConversation = Pick<MessagesRequest, keyof typeof conversation>;
