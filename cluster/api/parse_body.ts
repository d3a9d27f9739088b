/**
 * Bodies of requests, checked once: what cannot be used is refused by the name of the field, in words that say what would do.
 *
 * @module
 */
import type { z } from "zod";
import { keysAt, problemOf } from "../../core/expected.ts";
import { suggest } from "../../core/suggest.ts";
import { HttpError } from "./errors.ts";
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
    const param = [...issue.path, issue.keys[0]].join(".");
    const meant = suggest(issue.keys[0], keysAt(schema, issue.path));
    throw new HttpError(400, `Parameter "${param}" is not supported${meant === null ? "" : `; did you mean "${meant}"?`}`, {
      param,
      code: "unsupported_parameter",
    });
  }
  const param = issue.path.join(".");
  const what = param === "" ? "The body" : `Parameter "${param}"`;
  throw new HttpError(400, `${what} cannot be used: ${reasonOf(schema, issue, given)}`, {
    param: param === "" ? undefined : param,
    code: "invalid_value",
  });
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
  if (issue.code === "invalid_union" && hasWords(issue)) return `it ${issue.message}`;
  const each = issue.code !== "invalid_union" ? [] : issue.errors.flatMap(([first]) => first === undefined ? [] : [first]);
  if (!each.some(({ path }) => path.length > 0)) return problemOf(schema, issue, given, { object: "an object" });
  const reasons = each.map((first) => {
    const field = first.path.length === 0 ? "" : `${first.path.join(".")}: `;
    return field + reasonOf(schema, under(issue.path, first), given);
  });
  return [...new Set(reasons)].join("; or ");
}
