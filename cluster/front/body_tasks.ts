/**
 * What a front and its thread for large bodies say to each other.
 *
 * @module
 */
import type { HttpErrorFields } from "../api/errors.ts";
import type { ContinuationToWrite } from "./continuation.ts";

/** What the thread is asked for. */
export type BodyTask =
  | { readonly kind: "read"; readonly path: string; readonly body: Uint8Array<ArrayBuffer>; readonly client: string }
  | { readonly kind: "continue"; readonly continuation: ContinuationToWrite };

/** What came of it. */
export type BodyAnswer = { readonly done: unknown } | { readonly error: HttpErrorFields };
