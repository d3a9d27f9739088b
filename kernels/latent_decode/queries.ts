/**
 * Absorbed queries: [rows, heads, width], each laid out as a slot of the cache is: q̃, then the rotated part. `absorb` and `rope_store` write them; what lies
 * between the two and behind them stays zero.
 *
 * @module
 */
import { type HostBuffer } from "../contract.ts";
import { F16_VALUES } from "../../core/numeric.ts";
import { type CacheConfig, type CacheDtype, cacheWidth } from "../latent_cache/layout.ts";

/** Layout of absorbed queries. */
export interface QueriesConfig extends Pick<CacheConfig, "keyWidth" | "ropeWidth"> {
  /** What they are stored as: matrix units take f16, everything else f32. */
  readonly dtype: CacheDtype;
}

/** Items after the last that matrix units read, and whose results are not written: they take 16 heads at a time. */
const HEADS_BEYOND = 15;

/** Bytes of the queries of `items` (row, head) pairs. */
export function queriesBytes(config: QueriesConfig, items: number): number {
  return config.dtype === "f16" ? (items + HEADS_BEYOND) * cacheWidth(config) * 2 : items * cacheWidth(config) * 4;
}

/** `Query`, the type of an element of the binding `queries`. */
export function queriesWgsl({ dtype }: QueriesConfig): string {
  return `alias Query = ${dtype};\n`;
}

/** Reads one value. */
export function readQuery({ dtype }: QueriesConfig, queries: HostBuffer, at: number): number {
  return dtype === "f16" ? F16_VALUES[queries.u16[at]] : queries.f32[at];
}

/** Rounds one value and writes it. */
export function writeQuery({ dtype }: QueriesConfig, queries: HostBuffer, at: number, value: number): void {
  if (dtype === "f16") queries.f16[at] = value;
  else queries.f32[at] = value;
}
