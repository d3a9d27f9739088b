/**
 * The decode side of the handoff on its device: latents go to the pages of their tokens.
 *
 * @module
 */
import { cacheTokenBytes } from "../../kernels/latent_cache/layout.ts";
import type { Model } from "../forward/model.ts";
import type { Span } from "./latent_exporter.ts";

/** Writes tokens of a layer, or of index keys, that were cut out for this cache, counted among those that it keeps; blocks must be held. */
export function importLatents(
  { device, cache }: Pick<Model, "device" | "cache">,
  layer: number,
  { sequence, start, count }: Span,
  bytes: Uint8Array<ArrayBuffer>,
): void {
  const buffer = cache.buffers[layer];
  const { pages, config, blockTokens } = buffer;
  const tokenBytes = cacheTokenBytes(config);
  for (let done = 0; done < count;) {
    const slot = sequence.slotOfKept(buffer, start + done);
    // Within a block, slots follow each other; those of blocks that were taken together mostly do, too.
    let run = Math.min(blockTokens - ((start + done) % blockTokens), count - done);
    while (done + run < count && sequence.slotOfKept(buffer, start + done + run) === slot + run) run += Math.min(blockTokens, count - done - run);
    device.write(pages, slot * tokenBytes, bytes.subarray(done * tokenBytes, (done + run) * tokenBytes));
    done += run;
  }
}
