/**
 * What a model has cached of a sequence.
 *
 * @module
 */
import { keepsToken, keptTokens } from "../../core/cache/token_share.ts";
import type { DeviceBuffer } from "../../kernels/device/device.ts";
import { cacheTokenBytes } from "../../kernels/latent_cache/layout.ts";
import type { CachedSequence } from "../../workers/forward/latent_cache.ts";
import type { Model } from "../../workers/forward/model.ts";

/** All bytes of one of its caches. */
async function pagesOf({ device }: Model, pages: DeviceBuffer): Promise<Uint8Array> {
  const readback = await device.createReadback("pages", pages.bytes);
  device.read(readback, pages, 0, pages.bytes);
  device.submit();
  const bytes = (await readback.take()).slice();
  readback.destroy();
  return bytes;
}

/** Bytes of each token, of every layer and of index keys, as far as a rank keeps them. @param rank by default the model itself */
export async function tokensOf(model: Model, sequence: CachedSequence, positions: readonly number[], rank = model): Promise<Uint8Array[][]> {
  return await Promise.all(model.cache.buffers.map(async (buffer, i) => {
    const bytes = cacheTokenBytes(buffer.config);
    const pages = await pagesOf(model, buffer.pages);
    return positions.filter((position) => keepsToken(rank.cache.buffers[i].tokens, position)).map((position) => {
      const slot = sequence.slotOfKept(buffer, keptTokens(buffer.tokens, position));
      return pages.slice(slot * bytes, (slot + 1) * bytes);
    });
  }));
}

/** Overwrites all that is cached. */
export function fill({ device, cache }: Model, byte: number): void {
  for (const { pages } of cache.buffers) device.write(pages, 0, new Uint8Array(pages.bytes).fill(byte));
}
