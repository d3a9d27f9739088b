/**
 * Absorbed queries: [rows, heads, width], each laid out as a slot of the cache is: q̃, then the rotated part. `absorb` and `rope_store` write them; what lies
 * between the two and behind them stays zero.
 *
 * @module
 */
import type { HostBuffer } from "../authoring/contract.ts";
import { type CacheConfig, cacheWidth } from "../latent_cache/layout.ts";

/** Layout of absorbed queries. */
export interface QueriesConfig extends Pick<CacheConfig, "keyWidth" | "ropeWidth"> {
  /** What they are stored as: matrix units take f16, everything else f32. */
  readonly dtype: "f16" | "f32";
}

/** Most heads that a workgroup on matrix units takes. It reads as many, and does not write what becomes of those beyond the last. */
export const MOST_HEADS_AT_ONCE = 128;

/** Bytes of the queries of `items` (row, head) pairs. */
export function queriesBytes(config: QueriesConfig, items: number): number {
  return config.dtype === "f16" ? (items + MOST_HEADS_AT_ONCE - 1) * cacheWidth(config) * 2 : items * cacheWidth(config) * 4;
}

/** `Query`, the type of an element of the binding `queries`. */
export function queriesWgsl({ dtype }: QueriesConfig): string {
  return `alias Query = ${dtype};\n`;
}

/** Reads one value. */
export function readQuery({ dtype }: QueriesConfig, queries: HostBuffer, at: number): number {
  return dtype === "f16" ? queries.f16[at] : queries.f32[at];
}

/** Rounds one value and writes it. */
export function writeQuery({ dtype }: QueriesConfig, queries: HostBuffer, at: number, value: number): void {
  if (dtype === "f16") queries.f16[at] = value;
  else queries.f32[at] = value;
}
