/**
 * Which rows of prefill attend to nothing but what was chosen for them, and how.
 *
 * @module
 */
import type { ModelSpec } from "../../core/model/spec.ts";
import { absorbsOnUnits, type AbsorbUnitsConfig } from "../../kernels/absorb/absorb_units.ts";
import type { Device } from "../../kernels/device/device.ts";
import type { LatentDecodeConfig } from "../../kernels/latent_decode/latent_decode.ts";
import { divideSparse, type SparseDivision } from "../../kernels/sparse_prefill/sparse_prefill.ts";

/**
 * Tokens of context, in multiples of those that are chosen, from which on rows attend so, by the tiles of heads that share what is read of a latent: by then that takes
 * less time than to attend to all and mask most (bench/NOTES.md). A position's bits hang on it, so that it depends on nothing of the step.
 */
const FROM_TIMES: Readonly<Record<number, number>> = { 4: 3, 2: 4, 1: 6 };
/** Rows at a time: enough to keep a large GPU busy. */
const MOST_ROWS = 512;

/** How rows attend to nothing but what was chosen. */
export interface SparsePrefillWay {
  /** Least number of tokens that a row sees, itself among them. */
  readonly from: number;
  /** Rows at a time. */
  readonly rows: number;
  readonly absorb: AbsorbUnitsConfig;
  readonly division: SparseDivision;
  /** Values of a head's sum. */
  readonly valueWidth: number;
}

/**
 * How prefill rows do it; null where they never do: where they attend to all, where there are no matrix units for it or not whole latents in f16, or where no sequence is
 * as long.
 */
export function sparsePrefillWay(
  { limits }: Pick<Device, "limits">,
  { indexer, heads, nopeWidth, latentWidth }: ModelSpec,
  attends: readonly LatentDecodeConfig[],
  { prefillRows, maxContext }: { readonly prefillRows: number; readonly maxContext: number },
): SparsePrefillWay | null {
  const [{ cache, valueOffset, valueWidth }] = attends;
  if (indexer === null || attends.some(({ cache }) => cache.dtype !== "f16" || cache.keyWidth !== latentWidth)) return null;
  const absorb = { heads, nopeWidth, queries: { dtype: "f16", keyWidth: latentWidth, ropeWidth: cache.ropeWidth } } as const;
  const division = divideSparse({ cache, heads, valueOffset, valueWidth }, limits.maxWorkgroupBytes);
  if (division === null || !absorbsOnUnits(absorb, limits.maxWorkgroupBytes)) return null;
  const from = FROM_TIMES[division.headTiles] * indexer.topTokens;
  if (maxContext < from) return null;
  return { from, rows: Math.min(MOST_ROWS, prefillRows), absorb, division, valueWidth };
}

/** How many of a step's rows, which are consecutive, attend to all that they see, and are masked. */
export function denseRows({ rows }: { readonly rows: readonly { readonly position: number }[] }, way: Pick<SparsePrefillWay, "from"> | null): number {
  return way === null ? rows.length : Math.min(rows.length, Math.max(0, way.from - 1 - rows[0].position));
}
