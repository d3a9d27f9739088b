/**
 * What a checkpoint holds, to the last byte: too slow to wait for before serving, so that it is compared meanwhile.
 *
 * @module
 */
import type { Checkpoint } from "./checkpoint.ts";
import { tensorNames } from "./model_hash.ts";

/** Bytes of one digest. */
export const DIGEST_BYTES = 32;

/** Bytes that are hashed at a time. */
const PIECE_BYTES = 1 << 20;

/**
 * A digest of every tensor, in the order of their names: SHA-256 over the SHA-256 of each of its pieces of 1 MiB.
 *
 * @param pause called after every piece, so that other work goes on; what it throws ends this
 * @returns [tensors, {@link DIGEST_BYTES}]
 */
export async function tensorDigests(checkpoint: Checkpoint, pause: () => Promise<void>): Promise<Uint8Array<ArrayBuffer>> {
  const names = tensorNames(checkpoint);
  const digests = new Uint8Array(names.length * DIGEST_BYTES);
  for (const [i, name] of names.entries()) digests.set(await digestOf(checkpoint, name, pause), i * DIGEST_BYTES);
  return digests;
}

async function digestOf(checkpoint: Checkpoint, name: string, pause: () => Promise<void>): Promise<Uint8Array> {
  const { bytes } = checkpoint.info(name);
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  for (let begin = 0; begin < bytes; begin += PIECE_BYTES) {
    pieces.push(await sha256Bytes(await checkpoint.read(name, begin, Math.min(bytes, begin + PIECE_BYTES))));
    await pause();
  }
  return await sha256Bytes(await new Blob(pieces).arrayBuffer());
}

async function sha256Bytes(data: BufferSource): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data));
}

/** The first tensor whose digests differ; null if none does. @param digests of a checkpoint with the same tensors */
export function firstDifference(checkpoint: Checkpoint, own: Uint8Array, digests: Uint8Array): string | null {
  const at = own.findIndex((byte, i) => byte !== digests[i]);
  return at < 0 ? null : tensorNames(checkpoint)[Math.floor(at / DIGEST_BYTES)];
}
