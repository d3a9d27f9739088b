/**
 * What a model family says of itself, in one file beside this one.
 *
 * @module
 */
import type { ModelSpec } from "../spec.ts";

/** A family. */
export interface Family {
  /** Values of `model_type` that it reads. */
  readonly modelTypes: readonly string[];
  /** What derived models, with a `model_type` of their own, name in `architectures` if they are of this family. */
  readonly architectures: readonly string[];
  /** Reads the fields of a `config.json`. @throws {z.ZodError} @throws {FieldError} what is missing, contradicts or is not supported */
  read(config: unknown): ModelSpec;
}
