/**
 * Options of the library, checked: JavaScript has no types that would.
 *
 * @module
 */
import { z } from "zod";
import { type ErrorCode, LatentmeshError } from "./errors.ts";
import { keysAt, problemOf } from "./expected.ts";
import { suggest } from "./suggest.ts";

/** Whose options they are. */
export interface CheckedCall {
  /** Such as `Engine.load`. */
  readonly of: string;
  readonly code: ErrorCode;
  /** Options whose values are not shown. */
  readonly secrets?: readonly string[];
  /** What to say of an option that there is not, besides what may have been meant. */
  readonly hint?: string;
}

/** A function that the caller gives. */
export const callback: z.ZodType<unknown> = z.custom<unknown>((value) => typeof value === "function", "must be a function");

/** @throws {LatentmeshError} that names the option, as the caller has called it */
export function checkOptions(schema: z.ZodObject, options: unknown, { of, code, secrets = [], hint }: CheckedCall): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    const got = options === null ? "null" : Array.isArray(options) ? "a list" : typeof options;
    throw new LatentmeshError(code, `Cannot use the options of ${of}: expected an object, got ${got}`);
  }
  const parsed = schema.safeParse(options);
  if (parsed.success) return;
  const [issue] = parsed.error.issues;
  if (issue.code === "unrecognized_keys") {
    const [key] = issue.keys;
    const pathOf = (key: string) => [...issue.path, key].join(".");
    const meant = suggest(key, keysAt(schema, issue.path));
    const more = meant !== null ? `; did you mean ${pathOf(meant)}?` : hint === undefined ? "" : `; ${hint}`;
    throw new LatentmeshError(code, `Cannot use ${pathOf(key)}: there is no such option of ${of}${more}`, { param: pathOf(key) });
  }
  const param = issue.path.join(".");
  const shown = secrets.includes(param) ? undefined : options;
  throw new LatentmeshError(code, `Cannot use ${param}: ${problemOf(schema, issue, shown)}`, { param });
}
