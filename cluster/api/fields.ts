/**
 * What fields of request bodies have in common: `null` means "not given" everywhere.
 *
 * @module
 */
import { z } from "zod";
import { type Speculation, SPECULATIONS } from "../../core/speculation/speculation.ts";

/** A field that may be missing or null. */
export function optional<T extends z.ZodType>(schema: T): z.ZodType<z.output<T> | undefined> {
  return schema.nullish().transform((value) => value ?? undefined) as unknown as z.ZodType<z.output<T> | undefined>;
}

/** A field that may only say what happens anyway. */
export function only(...values: (string | boolean | number)[]) {
  return optional(z.literal(values));
}

/** The schema of a function's parameters: what it is called with has names, so that no other type than an object can be called. */
export function ofParameters<T extends z.ZodType<Record<string, unknown>>>(schema: T): T {
  return schema.superRefine(({ type }, context) => {
    if (type === undefined || [type].flat().includes("object")) return;
    context.addIssue({ code: "custom", message: 'must be "object"', path: ["type"] });
  });
}

/** A field that may hold anything: whatever it says, the answer is the same. */
export const ignored = z.unknown().optional();

/**
 * Fields that cannot change an answer, and that clients send without being asked: they identify the end user, label the request, ask to keep what this server keeps
 * for nobody, say how much is paid for how soon, or tell OpenAI's own models how much to say. docs/api.md lists them.
 */
export const withoutEffect = {
  user: ignored,
  metadata: ignored,
  store: ignored,
  safety_identifier: ignored,
  prompt_cache_key: ignored,
  prompt_cache_retention: ignored,
  prompt_cache_options: ignored,
  client_metadata: ignored,
  verbosity: ignored,
  service_tier: ignored,
} as const;

/** The same in messages and their parts: where they were cached, cited or numbered elsewhere. */
export const withoutEffectInMessages = { annotations: ignored, cache_control: ignored } as const;

/** Fields whose objects are the client's own, in which null says something. Lists under these names are the API's. */
const OWN = new Set(["parameters", "schema", "input_schema", "input", "logit_bias", "chat_template_kwargs"]);
/** The same of lists of objects. */
const OWN_LISTS = new Set(["input_examples"]);
/** Levels of objects and lists in which fields of requests may be. */
const DEEPEST = 12;

/** Takes fields that are null out of a body and what is in it: they are not given, whether they are known here or not. */
export function withoutNulls(value: unknown, depth = 0): unknown {
  if (typeof value !== "object" || value === null || depth > DEEPEST) return value;
  if (Array.isArray(value)) {
    // A prompt may be a million numbers.
    if (typeof value[0] === "object") { for (const element of value) withoutNulls(element, depth + 1); }
    return value;
  }
  const fields = value as Record<string, unknown>;
  for (const [name, field] of Object.entries(fields)) {
    if (field === null) delete fields[name];
    else if (Array.isArray(field) ? !OWN_LISTS.has(name) : !OWN.has(name)) withoutNulls(field, depth + 1);
  }
  return value;
}

/** Whether tokens are guessed; default: as the server is set. */
export const speculate: z.ZodType<Speculation | undefined> = optional(z.enum(SPECULATIONS));

/** vLLM's: of a client's requests, those with smaller numbers come first. */
export const priority: z.ZodType<number | undefined> = optional(z.int().min(-(2 ** 31)).max(2 ** 31 - 1));
