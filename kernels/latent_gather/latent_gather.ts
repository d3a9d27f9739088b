/**
 * Copies a window of one sequence's latents out of the paged cache, for prefill to expand into keys and values. Prefill reads even its own chunk back
 * from the cache, so that what it attends to does not depend on how the prompt was cut.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { type CacheConfig, cacheTokenBytes, cacheWgsl, cacheWidth, readSlot, ropeOffset, slotOf } from "../latent_cache/layout.ts";
import eightOfF16 from "./eight_f16.wgsl" with { type: "text" };
import eightOfQ8 from "./eight_q8.wgsl" with { type: "text" };
import halves from "./halves.wgsl" with { type: "text" };
import source from "./latent_gather.wgsl" with { type: "text" };

/** Cache geometry, and the words of the block tables. */
export interface LatentGatherConfig {
  readonly cache: CacheConfig;
  readonly slots: number;
  readonly tableWords: number;
  /** Precision of what is gathered; f16 for caches whose widths are multiples of 8, which {@link gathersHalves}. */
  readonly output: "f32" | "f16";
}

/** Whether latents can be gathered in f16: as they lie, or of eight bits, rounded. */
export function gathersHalves({ dtype, keyWidth, ropeWidth }: CacheConfig): boolean {
  return dtype !== "f32" && keyWidth % 8 === 0 && ropeWidth % 8 === 0;
}

/** Positions `start … start + count` of the sequence whose block table begins at word `table` → latents: [count, keyWidth], rope_keys: [count, d_r]. */
export const latentGather: Kernel<LatentGatherConfig, "cache" | "tables" | "latents" | "rope_keys", "count" | "start" | "table"> = {
  name: "latent_gather",
  bindings: { cache: "read", tables: "read", latents: "read_write", rope_keys: "read_write" },
  params: ["count", "start", "table"],
  wgsl: ({ cache, output }) =>
    output === "f16"
      ? constants({ KEY_VECTORS: cache.keyWidth / 8, ROPE_VECTORS: cache.ropeWidth / 8 }) +
        (cache.dtype === "q8" ? cacheWgsl(cache) + eightOfQ8 : constants({ BLOCK_TOKENS }) + eightOfF16) + halves
      : constants({ KEY_WIDTH: cache.keyWidth, ROPE_WIDTH: cache.ropeWidth }) + cacheWgsl(cache) + source,
  workgroups: ({ cache, output }, { count }) => [ceilDiv(cacheWidth(cache) / (output === "f16" ? 8 : 2), 64), count, 1],
  sizes: ({ cache, slots, tableWords, output }, { count }) => ({
    cache: slots * cacheTokenBytes(cache),
    tables: tableWords * 4,
    latents: count * cache.keyWidth * (output === "f16" ? 2 : 4),
    rope_keys: count * cache.ropeWidth * (output === "f16" ? 2 : 4),
  }),
  reference({ cache: config, output }, { cache, tables, latents, rope_keys }, { count, start, table }) {
    const values = new Float32Array(cacheWidth(config));
    for (let i = 0; i < count; i++) {
      readSlot(config, cache, slotOf(tables, table, start + i), values);
      latents[output].set(values.subarray(0, config.keyWidth), i * config.keyWidth);
      rope_keys[output].set(values.subarray(ropeOffset(config), ropeOffset(config) + config.ropeWidth), i * config.ropeWidth);
    }
  },
};
