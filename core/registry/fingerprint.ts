/**
 * What the bits of a cell's answers depend on. Cells with the same fingerprint choose the same tokens for the same request, so that one can go on where another has
 * stopped. Whatever tests hold to change no bit (batches, chunks, cached prefixes, how sums travel, threads) is no part of it.
 *
 * @module
 */
import { sha256 } from "../model/model_hash.ts";

/** What of a cell the bits of its answers depend on. */
export interface CellArithmetic {
  /** Of the program: kernels and sampling are as they are in it. */
  readonly version: string;
  /** Digest of the model's files, to the last byte. */
  readonly weights: string;
  /** Digest of the basis of the latent; null where there is none. */
  readonly basis: string | null;
  /** What is done to weights on load, and in what they, latents and activations on the wire are kept. */
  readonly formats: Readonly<Record<string, string>>;
  /** How units cut the model, by role. */
  readonly cuts: Readonly<Record<string, unknown>>;
  /** Tokens of a context, where answers end. */
  readonly maxContext: number;
  /** Devices of each role of units, as they describe themselves. */
  readonly devices: Readonly<Record<string, readonly string[]>>;
  /** Sequences of a batch, where the device computes small batches and large ones in different ways. */
  readonly maxBatch: number;
}

/** A digest of all of it. */
export async function fingerprintOf(arithmetic: CellArithmetic): Promise<string> {
  return (await sha256(new TextEncoder().encode(canonical(arithmetic)))).slice(0, 32);
}

/** JSON with the keys of every object in order, so that equal values have equal texts. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner) => {
    if (typeof inner !== "object" || inner === null || Array.isArray(inner)) return inner;
    return Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => a < b ? -1 : 1));
  });
}
