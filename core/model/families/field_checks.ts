/**
 * What families check fields of `config.json` with.
 *
 * @module
 */
import { z } from "zod";

/** A field that is present and well-formed but cannot be used, or contradicts another. */
export class FieldError extends Error {
  readonly field: string;
  constructor(field: string, problem: string) {
    super(problem);
    this.field = field;
  }
}

/** Throws a {@link FieldError} unless `condition` holds. */
export function requireField(condition: boolean, field: string, problem: string): void {
  if (!condition) throw new FieldError(field, problem);
}

/**
 * A size that some model could have: the largest published ones, many times over. Sizes are trusted from here on, and what they ask for is allocated; an absurd
 * one must not come so far.
 */
export const size = (most: number) => z.int().positive().max(most);

/** What a field says that may be left out. Null is false, as in transformers. */
export function flag(value: boolean | null | undefined, byDefault: boolean): boolean {
  return value === undefined ? byDefault : value ?? false;
}

/** Tokens of a context: every sequence has a list of its blocks. */
export const positions = size(2 ** 22);
