/**
 * Bodies by which fronts have a cell go on with what another one has begun to answer.
 *
 * @module
 */
import type { StreamProgress } from "./stream_progress.ts";

/** What goes into one. */
export interface ContinuationToWrite {
  readonly path: string;
  /** As the other cell got it. */
  readonly body: Uint8Array<ArrayBuffer>;
  readonly resumption: StreamProgress["resumption"];
  /** Whom the cell must equal; null: by this it cannot be told. */
  readonly equal: { readonly fingerprint: string | null } | { readonly weights: string | null };
}

/** Writes one, see `cluster/api/continuation_schema.ts`. */
export function writeContinuation({ path, body, resumption, equal }: ContinuationToWrite): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(JSON.stringify({ path, body: new TextDecoder().decode(body), ...resumption, ...equal }));
}
