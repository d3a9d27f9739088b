/**
 * Copies a window of one sequence's latents out of the paged cache, for prefill to expand into keys and values. Prefill reads even its own chunk back
 * from the cache, so that what it attends to does not depend on how the prompt was cut.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../contract.ts";
import { type CacheConfig, cacheTokenBytes, cacheWgsl, cacheWidth, readSlot, ropeOffset, slotOf } from "../latent_cache/layout.ts";
import source from "./latent_gather.wgsl" with { type: "text" };

/** Cache geometry, and the words of the block tables. */
export interface LatentGatherConfig {
  readonly cache: CacheConfig;
  readonly slots: number;
  readonly tableWords: number;
}

/** Positions `start … start + count` of the sequence whose block table begins at word `table` → latents: [count, keyWidth], rope_keys: [count, d_r]. */
export const latentGather: Kernel<LatentGatherConfig, "cache" | "tables" | "latents" | "rope_keys", "count" | "start" | "table"> = {
  name: "latent_gather",
  bindings: { cache: "read", tables: "read", latents: "read_write", rope_keys: "read_write" },
  params: ["count", "start", "table"],
  wgsl: ({ cache }) => constants({ KEY_WIDTH: cache.keyWidth, ROPE_WIDTH: cache.ropeWidth }) + cacheWgsl(cache) + source,
  workgroups: ({ cache }, { count }) => [ceilDiv(cacheWidth(cache) / 2, 64), count, 1],
  sizes: ({ cache, slots, tableWords }, { count }) => ({
    cache: slots * cacheTokenBytes(cache),
    tables: tableWords * 4,
    latents: count * cache.keyWidth * 4,
    rope_keys: count * cache.ropeWidth * 4,
  }),
  reference({ cache: config }, { cache, tables, latents, rope_keys }, { count, start, table }) {
    const values = new Float32Array(cacheWidth(config));
    for (let i = 0; i < count; i++) {
      readSlot(config, cache, slotOf(tables, table, start + i), values);
      latents.f32.set(values.subarray(0, config.keyWidth), i * config.keyWidth);
      rope_keys.f32.set(values.subarray(ropeOffset(config), ropeOffset(config) + config.ropeWidth), i * config.ropeWidth);
    }
  },
};
