/**
 * Cuts a rank's columns out of whole cached latents, for prefill to hand over: exactly the bytes that the rank will hold, one token after the other.
 *
 * @module
 */
import type { Range } from "../../core/model/matrix_source.ts";
import { constants, type Kernel } from "../authoring/contract.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { type CacheConfig, cacheTokenBytes, cacheWgsl, cacheWidth, ropeOffset, slotOf } from "../latent_cache/layout.ts";
import source from "./latent_export.wgsl" with { type: "text" };
import storeF16 from "./store_f16.wgsl" with { type: "text" };
import storeF32 from "./store_f32.wgsl" with { type: "text" };

/** Geometry of the whole cache, and what the rank keeps of it. */
export interface LatentExportConfig {
  readonly cache: CacheConfig;
  readonly slots: number;
  readonly tableWords: number;
  /** K_i: one or two ranges of columns of the whole latent. */
  readonly columns: readonly Range[];
}

/** How the rank's tokens lie: as in its own cache. */
export function exportedConfig({ cache, columns }: LatentExportConfig): CacheConfig {
  return { ...cache, keyWidth: columns.reduce((sum, { begin, end }) => sum + end - begin, 0) };
}

/** Positions `start … start + count` of a sequence → out: [count, width of the rank's tokens] from word `offset`. */
export const latentExport: Kernel<LatentExportConfig, "cache" | "tables" | "out", "count" | "start" | "table" | "offset"> = {
  name: "latent_export",
  bindings: { cache: "read", tables: "read", out: "read_write" },
  params: ["count", "start", "table", "offset"],
  wgsl(config) {
    const kept = exportedConfig(config);
    const [first, second = first] = config.columns;
    return constants({
      KEPT_KEYS: kept.keyWidth,
      KEPT_ROPE: ropeOffset(kept),
      KEPT_WIDTH: cacheWidth(kept),
      FIRST_BEGIN: first.begin,
      FIRST_COUNT: first.end - first.begin,
      SECOND_BEGIN: second.begin,
    }) + cacheWgsl(config.cache) + (config.cache.dtype === "f16" ? storeF16 : storeF32) + source;
  },
  workgroups: (config, { count }) => [ceilDiv(cacheWidth(exportedConfig(config)) / 2, 64), count, 1],
  sizes: (config, { count, offset }) => ({
    cache: config.slots * cacheTokenBytes(config.cache),
    tables: config.tableWords * 4,
    out: offset * 4 + count * cacheTokenBytes(exportedConfig(config)),
  }),
  reference(config, { cache, tables, out }, { count, start, table, offset }) {
    const kept = exportedConfig(config);
    const [from, to] = config.cache.dtype === "f16" ? [cache.u16, out.u16] : [cache.u32, out.u32];
    const [width, keptWidth] = [cacheWidth(config.cache), cacheWidth(kept)];
    const perWord = config.cache.dtype === "f16" ? 2 : 1;
    for (let i = 0; i < count; i++) {
      const slot = slotOf(tables, table, start + i);
      let at = offset * perWord + i * keptWidth;
      for (const { begin, end } of config.columns) {
        to.set(from.subarray(slot * width + begin, slot * width + end), at);
        at += end - begin;
      }
      to.fill(0, at, at + ropeOffset(kept) - kept.keyWidth);
      at += ropeOffset(kept) - kept.keyWidth;
      to.set(from.subarray(slot * width + ropeOffset(config.cache), (slot + 1) * width), at);
    }
  },
};
