/**
 * Identity of a checkpoint: workers that load the same model agree on it, and a basis says which model it was made for.
 *
 * @module
 */
import type { Checkpoint } from "./checkpoint.ts";

/** Bytes of each tensor that are hashed: all of them would take minutes for the largest models. */
const SAMPLE_BYTES = 1024;

/** SHA-256, in hexadecimal, over config.json and over name, dtype, shape and first kilobyte of every tensor. */
export async function modelHash(configText: string, checkpoint: Checkpoint): Promise<string> {
  const parts: Uint8Array<ArrayBuffer>[] = [new TextEncoder().encode(configText)];
  for (const name of [...checkpoint.names()].sort()) {
    const { dtype, shape, bytes } = checkpoint.info(name);
    parts.push(new TextEncoder().encode(`\n${name} ${dtype} ${shape.join("x")}\n`), await checkpoint.read(name, 0, Math.min(bytes, SAMPLE_BYTES)));
  }
  return await sha256(await new Blob(parts).arrayBuffer());
}

/** SHA-256 in hexadecimal. */
export async function sha256(data: BufferSource): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data)).toHex();
}
