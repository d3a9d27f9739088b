/**
 * What the files of a model hold, to the last byte, read in the background.
 *
 * @module
 */
import { setTimeout } from "node:timers/promises";
import { LatentmeshError } from "../../core/errors.ts";
import { Checkpoint } from "../../core/model/checkpoint.ts";
import { tensorDigests } from "../../core/model/contents.ts";
import { openModelFiles } from "../load/model_files.ts";

/** Milliseconds between pieces of a megabyte: 31 GB take three minutes, of which steps that run meanwhile lose little. */
const PAUSE = 5;

/**
 * A digest of every tensor of a model directory, see `core/model/contents.ts`.
 *
 * @param isWanted looked at now and then
 * @throws {LatentmeshError} `cancelled` when they are wanted no longer
 */
export async function digestFiles(directory: string, isWanted: () => boolean): Promise<Uint8Array<ArrayBuffer>> {
  using files = openModelFiles(directory);
  return await tensorDigests(await Checkpoint.open(files), async () => {
    await setTimeout(PAUSE);
    if (!isWanted()) throw new LatentmeshError("cancelled", "Nobody waits for digests any more");
  });
}
