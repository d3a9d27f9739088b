/**
 * Copies a rank's columns of whole cached latents to the pages of its own cache, where both caches are on one device: what a handoff does between devices.
 *
 * @module
 */
import { constants, type Kernel } from "../authoring/contract.ts";
import { ALL_TOKENS, tokenPosition, type TokenShare } from "../../core/cache/token_share.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { cacheTokenBytes, slotOf } from "../latent_cache/layout.ts";
import { copyKept, exportedConfig, type KeptColumns, keptUnits, keptWgsl } from "../latent_export/kept_columns.ts";
import { keptTokensWgsl } from "../latent_export/kept_tokens.ts";
import source from "./latent_slice.wgsl" with { type: "text" };

/** Geometry of both caches, and what the rank keeps of whole latents. */
export interface LatentSliceConfig extends KeptColumns {
  readonly slots: number;
  readonly tableWords: number;
  /** Tokens that the rank keeps; default: all. */
  readonly tokens?: TokenShare;
  /** The same of the rank's own cache, and how many tokens a block has there. */
  readonly kept: { readonly slots: number; readonly blockTokens: number; readonly tableWords: number };
}

/**
 * Tokens `start … start + count` of a sequence, counted among those that the rank keeps, whose block tables begin at `table` and `kept_table` → the same tokens of the
 * rank's pages `out`.
 */
export const latentSlice: Kernel<LatentSliceConfig, "cache" | "tables" | "kept_tables" | "out", "count" | "start" | "table" | "kept_table"> = {
  name: "latent_slice",
  bindings: { cache: "read", tables: "read", kept_tables: "read", out: "read_write" },
  params: ["count", "start", "table", "kept_table"],
  wgsl: (config) =>
    keptWgsl(config) + keptTokensWgsl(config.tokens ?? ALL_TOKENS) + constants({ KEPT_BLOCK_TOKENS: config.kept.blockTokens }) + source,
  workgroups: (config, { count }) => [ceilDiv(keptUnits(config), 64), count, 1],
  sizes: (config) => ({
    cache: config.slots * cacheTokenBytes(config.cache),
    tables: config.tableWords * 4,
    kept_tables: config.kept.tableWords * 4,
    out: config.kept.slots * cacheTokenBytes(exportedConfig(config)),
  }),
  reference(config, { cache, tables, kept_tables, out }, { count, start, table, kept_table }) {
    const { tokens = ALL_TOKENS, kept: { blockTokens } } = config;
    const bytes = cacheTokenBytes(exportedConfig(config));
    for (let token = start; token < start + count; token++) {
      copyKept(config, cache, slotOf(tables, table, tokenPosition(tokens, token)), out, slotOf(kept_tables, kept_table, token, blockTokens) * bytes);
    }
  },
};
