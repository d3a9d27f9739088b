/**
 * Answers of cells that are given when they are complete.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { joined } from "../http/json.ts";

/** Bytes of an answer at most: a cell that tells without end does not take all of a front's memory. */
const MOST_ANSWERED = 1 << 30;

/**
 * All bytes of an answer.
 *
 * @param options.heard told whenever some come
 * @param options.most bytes
 * @throws {LatentmeshError} `protocol` if there are more, or whatever breaks it off
 */
export async function wholeOf(
  { body }: Response,
  { heard, most = MOST_ANSWERED }: { readonly heard: () => void; readonly most?: number },
): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  for await (const piece of body ?? []) {
    heard();
    bytes += piece.length;
    if (bytes > most) throw new LatentmeshError("protocol", `A cell sent an answer of more than ${most} bytes`);
    pieces.push(piece);
  }
  return joined(pieces);
}
