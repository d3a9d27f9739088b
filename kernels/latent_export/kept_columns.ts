/**
 * Which columns of whole latents a rank keeps, for kernels that cut them out.
 *
 * @module
 */
import type { Range } from "../../core/model/matrix_source.ts";
import { groupsWithin } from "../../core/tpla/scale_groups.ts";
import { constants, type HostBuffer } from "../authoring/contract.ts";
import { type CacheConfig, cacheTokenBytes, cacheWgsl, cacheWidth, inBytes, ropeOffset } from "../latent_cache/layout.ts";
import { groupsOf, q8SlotOf } from "../latent_cache/q8.ts";
import copyPairs from "./copy_pairs.wgsl" with { type: "text" };
import copyQ8 from "./copy_q8.wgsl" with { type: "text" };
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
  const kept = { ...cache, keyWidth: columns.reduce((sum, { begin, end }) => sum + end - begin, 0) };
  return inBytes(cache) ? { ...kept, groups: groupsWithin(groupsOf(cache), columns).map((group) => groupsOf(cache)[group]) } : kept;
}

/** In how many units a token is copied: pairs of values, or words. */
export function keptUnits(config: KeptColumns): number {
  const kept = exportedConfig(config);
  return inBytes(kept) ? cacheTokenBytes(kept) / 4 : cacheWidth(kept) / 2;
}

/**
 * `copy_kept(slot, unit, to)`, which copies one of the `KEPT_UNITS` of what the rank keeps of a slot of the binding `cache: array<u32>` to the token that begins with
 * word `to` of the binding `out: array<u32>`; and `KEPT_WORDS`, how many words a token has there.
 */
export function keptWgsl(config: KeptColumns): string {
  const kept = exportedConfig(config);
  const [first, second = first] = config.columns;
  const numbers = {
    KEPT_KEYS: kept.keyWidth,
    KEPT_UNITS: keptUnits(config),
    KEPT_WORDS: cacheTokenBytes(kept) / 4,
    FIRST_BEGIN: first.begin,
    FIRST_COUNT: first.end - first.begin,
    SECOND_BEGIN: second.begin,
  };
  if (inBytes(kept)) return constants(numbers) + cacheWgsl(config.cache) + q8Wgsl(config, kept) + copyQ8;
  return constants({ ...numbers, KEPT_ROPE: ropeOffset(kept) }) + cacheWgsl(config.cache) + keptValue + (kept.dtype === "f16" ? storeF16 : storeF32) +
    copyPairs;
}

/** `whole_group(group)`: which scale of the whole latent is the rank's. */
function q8Wgsl({ cache, columns }: KeptColumns, kept: CacheConfig): string {
  const groups = groupsWithin(groupsOf(cache), columns);
  const { rope, scales } = q8SlotOf(kept);
  // They follow each other but where the second range begins.
  const steps = groups.flatMap((whole, i) =>
    i === 0 || whole === groups[i - 1] + 1 ? [] : [`select(0u, ${whole - groups[i - 1] - 1}u, group >= ${i}u)`]
  );
  return constants({ KEPT_ROPE_WORD: rope / 4, KEPT_SCALE_WORD: scales / 4, KEPT_GROUPS: groups.length }) +
    `fn whole_group(group: u32) -> u32 { return ${[`${groups[0]}u + group`, ...steps].join(" + ")}; }\n`;
}

/** Copies what the rank keeps of a slot to the token that begins with byte `firstByte` of `out`. */
export function copyKept(config: KeptColumns, cache: HostBuffer, slot: number, out: HostBuffer, firstByte: number): void {
  if (inBytes(config.cache)) return copyKeptQ8(config, cache, slot, out, firstByte);
  const { cache: whole, columns } = config;
  const kept = exportedConfig(config);
  const [from, to, bytes] = whole.dtype === "f16" ? [cache.u16, out.u16, 2] : [cache.u32, out.u32, 4];
  const at = firstByte / bytes;
  const width = cacheWidth(whole);
  let next = at;
  for (const { begin, end } of columns) {
    to.set(from.subarray(slot * width + begin, slot * width + end), next);
    next += end - begin;
  }
  to.fill(0, next, at + ropeOffset(kept));
  to.set(from.subarray(slot * width + ropeOffset(whole), (slot + 1) * width), at + ropeOffset(kept));
}

function copyKeptQ8(config: KeptColumns, cache: HostBuffer, slot: number, out: HostBuffer, at: number): void {
  const kept = exportedConfig(config);
  const [whole, own] = [q8SlotOf(config.cache), q8SlotOf(kept)];
  const from = slot * whole.bytes;
  out.u8.fill(0, at, at + own.bytes);
  let next = at;
  for (const { begin, end } of config.columns) {
    out.u8.set(cache.u8.subarray(from + begin, from + end), next);
    next += end - begin;
  }
  out.u8.set(cache.u8.subarray(from + whole.rope, from + whole.scales), at + own.rope);
  groupsWithin(groupsOf(config.cache), config.columns).forEach((group, i) => {
    out.u32[(at + own.scales) / 4 + i] = cache.u32[(from + whole.scales) / 4 + group];
  });
}
