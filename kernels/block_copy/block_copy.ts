/**
 * Copies the beginning of one cache block to another, for sequences that go different ways in the middle of a block.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { type CacheConfig, cacheTokenBytes } from "../latent_cache/layout.ts";
import source from "./block_copy.wgsl" with { type: "text" };

/** Geometry of the cache. */
export interface BlockCopyConfig {
  readonly cache: CacheConfig;
  readonly slots: number;
  /** Slots of a block. */
  readonly blockTokens: number;
}

/** Tokens 0 … `tokens` of block `source` → block `copy`. */
export const blockCopy: Kernel<BlockCopyConfig, "cache", "source" | "copy" | "tokens"> = {
  name: "block_copy",
  bindings: { cache: "read_write" },
  params: ["source", "copy", "tokens"],
  wgsl: ({ cache, blockTokens }) => constants({ TOKEN_WORDS: cacheTokenBytes(cache) / 4, BLOCK_TOKENS: blockTokens }) + source,
  workgroups: ({ cache }, { tokens }) => [ceilDiv(tokens * cacheTokenBytes(cache) / 4, 64), 1, 1],
  sizes: ({ cache, slots }) => ({ cache: slots * cacheTokenBytes(cache) }),
  reference({ cache: config, blockTokens }, { cache }, { source, copy, tokens }) {
    const words = cacheTokenBytes(config) / 4;
    cache.u32.copyWithin(copy * blockTokens * words, source * blockTokens * words, (source * blockTokens + tokens) * words);
  },
};
