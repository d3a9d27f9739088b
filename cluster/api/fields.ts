/**
 * What fields of request bodies have in common: `null` means "not given" everywhere.
 *
 * @module
 */
import { z } from "zod";

/** A field that may be missing or null. */
export function optional<T extends z.ZodType>(schema: T): z.ZodType<z.output<T> | undefined> {
  return schema.nullish().transform((value) => value ?? undefined) as unknown as z.ZodType<z.output<T> | undefined>;
}

/** A field that may only say what happens anyway. */
export function only(...values: (string | boolean | number)[]) {
  return optional(z.literal(values));
}

/** vLLM's: of a client's requests, those with smaller numbers come first. */
export const priority: z.ZodType<number | undefined> = optional(z.int().min(-(2 ** 31)).max(2 ** 31 - 1));
