/**
 * Bodies of requests, checked once: what cannot be used is refused by the name of the field, in words that say what would do.
 *
 * @module
 */
import type { z } from "zod";
import { keysAt, problemOf } from "../../core/expected.ts";
import { suggest } from "../../core/suggest.ts";
import { HttpError, shortened } from "./errors.ts";
import { withoutNulls } from "./fields.ts";

/**
 * Parses a body.
 *
 * @throws {HttpError} 400 that names the field
 */
export function parseBody<T extends z.ZodType>(schema: T, body: unknown): z.output<T> {
  const given = withoutNulls(body);
  const parsed = schema.safeParse(given, { reportInput: false });
  if (parsed.success) return parsed.data;
  const issue = withinUnions(parsed.error.issues[0]);
  if (issue.code === "unrecognized_keys") {
    const param = pathOf([...issue.path, issue.keys[0]]);
    throw new HttpError(400, `Parameter "${param}" is not supported${insteadOf(issue.keys[0], keysAt(schema, issue.path))}`, {
      param,
      code: "unsupported_parameter",
    });
  }
  const param = pathOf(issue.path);
  const what = param === "" ? "The body" : `Parameter "${param}"`;
  throw new HttpError(400, `${what} cannot be used: ${reasonOf(schema, issue, given)}${ofMedia(issue, given)}`, {
    param: param === "" ? undefined : param,
    code: "invalid_value",
  });
}

/** Characters of a part of a path: clients make up names, of megabytes if they like. */
const MOST_OF_NAME = 128;

function pathOf(path: readonly PropertyKey[]): string {
  return path.map((key) => shortened(String(key), MOST_OF_NAME)).join(".");
}

/** What does what a parameter that is not known here would: by its name, fields and what to do with each, of which the first counts that there is. */
const INSTEAD: ReadonlyMap<string, readonly (readonly [field: string, way: string])[]> = new Map([
  ["previous_response_id", [["input", 'send the conversation as "input"']]],
  ["conversation", [["input", 'send it as "input"']]],
  ["messages", [["input", 'use "input"']]],
  ["input", [["messages", 'use "messages"'], ["prompt", 'use "prompt"']]],
  ["functions", [["tools", 'use "tools"']]],
  ["function_call", [["tool_choice", 'use "tool_choice"'], ["tool_calls", 'use "tool_calls"']]],
  ["response_format", [["text", 'use "text.format"'], ["output_config", 'use "output_config.format"']]],
  ["guided_json", [["response_format", 'use "response_format"']]],
  ["reasoning_effort", [["reasoning", 'use "reasoning.effort"'], ["output_config", 'use "output_config.effort"']]],
  ["max_completion_tokens", [["max_output_tokens", 'use "max_output_tokens"'], ["max_tokens", 'use "max_tokens"']]],
  ["max_tokens", [["max_output_tokens", 'use "max_output_tokens"']]],
  ["stop", [["stop_sequences", 'use "stop_sequences"']]],
  ["stop_sequences", [["stop", 'use "stop"']]],
]);

/** What to do without a parameter, as the end of a sentence. @param keys what there is in its place */
function insteadOf(name: string, keys: readonly string[]): string {
  const way = INSTEAD.get(name)?.find(([field]) => keys.includes(field));
  if (way !== undefined) return `; ${way[1]}`;
  const meant = suggest(name, keys);
  return meant === null ? "" : `; did you mean "${meant}"?`;
}

/** Types of parts that are no text, in all of the APIs. */
const MEDIA = new Set(["image_url", "image", "input_image", "input_audio", "audio", "video_url", "video", "file", "input_file", "document"]);

/** What is to be known of a part that cannot be read, as the end of a sentence. */
function ofMedia({ path }: z.core.$ZodIssue, given: unknown): string {
  const type = path.at(-1) === "type" && path.length > 1
    ? path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown>)?.[key], given)
    : null;
  return typeof type === "string" && MEDIA.has(type) ? "; only text is read here, no images, sound, video or files" : "";
}

/** Of what may have several forms and is wrong inside of one of them, what is wrong there. */
function withinUnions(issue: z.core.$ZodIssue): z.core.$ZodIssue {
  if (issue.code !== "invalid_union") return issue;
  if (hasWords(issue)) return issue;
  const inside = issue.errors.map(([first]) => first).filter((first) => first !== undefined && isInside(first));
  // What is of another type is not what was meant.
  const meant = inside.length > 1 ? inside.filter(({ path }) => path.length !== 1 || path[0] !== "type") : inside;
  return meant.length === 1 ? withinUnions(under(issue.path, meant[0])) : issue;
}

/** Whether a schema says of itself what it wants. */
function hasWords({ message }: z.core.$ZodIssue): boolean {
  return message.startsWith("must ");
}

/** Whether a value has the form at least, though not what is in it. */
function isInside(issue: z.core.$ZodIssue): boolean {
  return issue.path.length > 0 || issue.code === "unrecognized_keys" || issue.code === "too_big" || issue.code === "too_small" ||
    issue.code === "custom";
}

/** Issues within a union have paths within it. */
function under(path: readonly PropertyKey[], issue: z.core.$ZodIssue): z.core.$ZodIssue {
  return { ...issue, path: [...path, ...issue.path] };
}

/** What is wrong; of several forms, with each of them. */
function reasonOf(schema: z.ZodType, issue: z.core.$ZodIssue, given: unknown): string {
  if (issue.code === "invalid_union" && hasWords(issue)) return problemOf(schema, issue, given);
  const each = issue.code !== "invalid_union" ? [] : issue.errors.flatMap(([first]) => first === undefined ? [] : [first]);
  if (!each.some(({ path }) => path.length > 0)) return problemOf(schema, issue, given, { object: "an object" });
  const reasons = each.map((first) => {
    const field = first.path.length === 0 ? "" : `${pathOf(first.path)}: `;
    return field + reasonOf(schema, under(issue.path, first), given);
  });
  return [...new Set(reasons)].join("; or ");
}
