/**
 * What is fuzzed: one input at a time, made from seeded randomness. Whatever else than a named error comes out of it is a finding.
 *
 * @module
 */
import { HttpError } from "../../cluster/api/errors.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { HttpSyntaxError } from "../../core/http/request_head.ts";
import type { Random } from "../../bench/support/random.ts";

/** Something that takes what others have written. */
export interface Target {
  readonly name: string;
  /** Makes one input and gives it to the code. @throws what is a finding */
  run(random: Random): void | Promise<void>;
}

/** Runs code that may refuse its input by name. @returns null where it did */
export async function named<T>(body: () => T | Promise<T>): Promise<T | null> {
  try {
    return await body();
  } catch (error) {
    if (isNamed(error)) return null;
    throw error;
  }
}

function isNamed(error: unknown): boolean {
  if (error instanceof HttpSyntaxError) return true;
  if (error instanceof HttpError) return error.status < 500;
  return error instanceof LatentmeshError && error.code !== "internal";
}
