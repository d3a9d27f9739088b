/**
 * Cuts a rank's columns out of whole cached latents, for prefill to hand over: exactly the bytes that the rank will hold, one token after the other.
 *
 * @module
 */
import type { Kernel } from "../authoring/contract.ts";
import { ALL_TOKENS, tokenPosition, type TokenShare } from "../../core/cache/token_share.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { cacheTokenBytes, slotOf } from "../latent_cache/layout.ts";
import { copyKept, exportedConfig, type KeptColumns, keptUnits, keptWgsl } from "./kept_columns.ts";
import { keptTokensWgsl } from "./kept_tokens.ts";
import source from "./latent_export.wgsl" with { type: "text" };

/** Geometry of the whole cache, and what the rank keeps of it. */
export interface LatentExportConfig extends KeptColumns {
  readonly slots: number;
  readonly tableWords: number;
  /** Tokens that the rank keeps; default: all. */
  readonly tokens?: TokenShare;
}

/** Tokens `start … start + count` of a sequence, counted among those that the rank keeps → out: [count, width of the rank's tokens] from word `offset`. */
export const latentExport: Kernel<LatentExportConfig, "cache" | "tables" | "out", "count" | "start" | "table" | "offset"> = {
  name: "latent_export",
  bindings: { cache: "read", tables: "read", out: "read_write" },
  params: ["count", "start", "table", "offset"],
  wgsl: (config) => keptWgsl(config) + keptTokensWgsl(config.tokens ?? ALL_TOKENS) + source,
  workgroups: (config, { count }) => [ceilDiv(keptUnits(config), 64), count, 1],
  sizes: (config, { count, offset }) => ({
    cache: config.slots * cacheTokenBytes(config.cache),
    tables: config.tableWords * 4,
    out: offset * 4 + count * cacheTokenBytes(exportedConfig(config)),
  }),
  reference(config, { cache, tables, out }, { count, start, table, offset }) {
    const { tokens = ALL_TOKENS } = config;
    const bytes = cacheTokenBytes(exportedConfig(config));
    for (let i = 0; i < count; i++) copyKept(config, cache, slotOf(tables, table, tokenPosition(tokens, start + i)), out, offset * 4 + i * bytes);
  },
};
