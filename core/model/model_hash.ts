/**
 * Identity of a checkpoint: workers that load the same model agree on it, and a basis says which model it was made for.
 *
 * @module
 */
import { mapLimited } from "../limited.ts";
import type { Checkpoint } from "./checkpoint.ts";

/** Bytes of each tensor that are hashed: all of them would take minutes for the largest models. What follows is compared later, see `contents.ts`. */
const SAMPLE_BYTES = 1024;

/** Tensors that are sampled at a time. */
const SAMPLES_AT_ONCE = 8;

/**
 * SHA-256, in hexadecimal, over config.json and over name, dtype, shape and first kilobyte of every tensor, in the order of their names: the same for the same model
 * wherever its tensors lie in which files. Of two models with the same sizes, it tells those apart that differ in the beginning of any tensor, as trainings do; not
 * those that differ in single bytes.
 */
export async function modelHash(configText: string, checkpoint: Checkpoint): Promise<string> {
  const samples = await mapLimited(tensorNames(checkpoint), SAMPLES_AT_ONCE, async (name) => {
    const { dtype, shape, bytes } = checkpoint.info(name);
    const sample = await checkpoint.read(name, 0, Math.min(bytes, SAMPLE_BYTES));
    return [new TextEncoder().encode(`\n${name} ${dtype} ${shape.join("x")}\n`), sample];
  });
  return await sha256(await new Blob([new TextEncoder().encode(configText), ...samples.flat()]).arrayBuffer());
}

/** All tensors, in the order in which they are hashed. */
export function tensorNames(checkpoint: Checkpoint): string[] {
  return [...checkpoint.names()].sort();
}

/** SHA-256 in hexadecimal. */
export async function sha256(data: BufferSource): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data)).toHex();
}
