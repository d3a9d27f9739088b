/**
 * JSON as text: what stands between values, and values that are known.
 *
 * @module
 */
import { byteSet } from "../automaton/byte_sets.ts";
import type { Expr, Expressions } from "../automaton/expressions.ts";

/** A value of JSON. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** Columns that a line may be indented by. Without a bound a model may write nothing else any more. */
const MOST_INDENTED = 32;

/** Writes what surrounds values. */
export class JsonText {
  readonly #expressions: Expressions;
  /** After an opening bracket or a comma, and before a closing bracket: a space, or a new line. */
  readonly gap: Expr;
  /** Between a name and its value. */
  readonly colon: Expr;

  constructor(expressions: Expressions) {
    this.#expressions = expressions;
    const x = expressions;
    const line = x.sequence([x.literal("\n"), x.repeat(x.bytes(byteSet([0x20, 0x20], [0x09, 0x09])), 0, MOST_INDENTED)]);
    this.gap = x.optional(x.union([x.literal(" "), line]));
    this.colon = x.sequence([x.literal(":"), x.optional(x.literal(" "))]);
  }

  /** A string around what is between its quotes. */
  quoted(content: Expr): Expr {
    const quote = this.#expressions.literal('"');
    return this.#expressions.sequence([quote, content, quote]);
  }

  /** A value that is known. */
  value(value: Json): Expr {
    const x = this.#expressions;
    if (typeof value !== "object" || value === null) return x.literal(JSON.stringify(value));
    const parts = Array.isArray(value)
      ? value.map((item) => this.value(item))
      : Object.entries(value).map(([name, item]) => x.sequence([x.literal(JSON.stringify(name)), this.colon, this.value(item)]));
    const [open, close] = Array.isArray(value) ? "[]" : "{}";
    const separated = parts.flatMap((part, i) => i === 0 ? [this.gap, part] : [x.literal(","), this.gap, part]);
    return x.sequence([x.literal(open), ...separated, this.gap, x.literal(close)]);
  }
}

/** The same text for equal values, whatever order their properties have. */
export function canonical(value: Json): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical((value as Record<string, Json>)[name])}`).join()}}`;
}
