/**
 * Which columns of whole latents a rank keeps, for kernels that cut them out.
 *
 * @module
 */
import type { Range } from "../../core/model/matrix_source.ts";
import { constants, type HostBuffer } from "../authoring/contract.ts";
import { type CacheConfig, cacheWgsl, cacheWidth, ropeOffset } from "../latent_cache/layout.ts";
import keptValue from "./kept_value.wgsl" with { type: "text" };
import storeF16 from "./store_f16.wgsl" with { type: "text" };
import storeF32 from "./store_f32.wgsl" with { type: "text" };

/** The whole cache, and what the rank keeps of it. */
export interface KeptColumns {
  readonly cache: CacheConfig;
  /** K_i: one or two ranges of columns of the whole latent. */
  readonly columns: readonly Range[];
}

/** How the rank's tokens lie: as in its own cache. */
export function exportedConfig({ cache, columns }: KeptColumns): CacheConfig {
  return { ...cache, keyWidth: columns.reduce((sum, { begin, end }) => sum + end - begin, 0) };
}

/**
 * `kept_pair(slot, pair) -> vec2<f32>`, two of the values that the rank keeps of a slot of the binding `cache: array<u32>`; `KEPT_WIDTH` of them;
 * and `store_pair(at, value)`, which writes them to word `at` of the binding `out: array<u32>`, `PAIR_WORDS` at a time.
 */
export function keptWgsl(config: KeptColumns): string {
  const kept = exportedConfig(config);
  const [first, second = first] = config.columns;
  return constants({
    KEPT_KEYS: kept.keyWidth,
    KEPT_ROPE: ropeOffset(kept),
    KEPT_WIDTH: cacheWidth(kept),
    FIRST_BEGIN: first.begin,
    FIRST_COUNT: first.end - first.begin,
    SECOND_BEGIN: second.begin,
  }) + cacheWgsl(config.cache) + keptValue + (config.cache.dtype === "f16" ? storeF16 : storeF32);
}

/** Copies what the rank keeps of a slot to `at`, counted in values. */
export function copyKept({ cache: config, columns }: KeptColumns, cache: HostBuffer, slot: number, out: HostBuffer, at: number): void {
  const kept = exportedConfig({ cache: config, columns });
  const [from, to] = config.dtype === "f16" ? [cache.u16, out.u16] : [cache.u32, out.u32];
  const width = cacheWidth(config);
  let next = at;
  for (const { begin, end } of columns) {
    to.set(from.subarray(slot * width + begin, slot * width + end), next);
    next += end - begin;
  }
  to.fill(0, next, at + ropeOffset(kept));
  to.set(from.subarray(slot * width + ropeOffset(config), (slot + 1) * width), at + ropeOffset(kept));
}
