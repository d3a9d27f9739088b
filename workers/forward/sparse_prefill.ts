/**
 * Attention of prefill rows to nothing but what was chosen for them: absorbed, as in decode, some rows at a time. From some context on that is quicker than attending
 * to expanded keys and values of all tokens, with those masked that were not chosen (`prefill_attention.ts`).
 *
 * @module
 */
import type { ModelSpec } from "../../core/model/spec.ts";
import { absorbsOnUnits, absorbUnits, type AbsorbUnitsConfig } from "../../kernels/absorb/absorb_units.ts";
import type { BoundKernel, Device } from "../../kernels/device/device.ts";
import type { LatentDecodeConfig } from "../../kernels/latent_decode/latent_decode.ts";
import { headsUnits } from "../../kernels/linear/heads_units.ts";
import type { LinearParams } from "../../kernels/linear/linear.ts";
import { divideUnits, tileItemsFor, tileSizesFor } from "../../kernels/linear/matmul_units.ts";
import { divideSparse, type SparseDivision, sparsePrefill } from "../../kernels/sparse_prefill/sparse_prefill.ts";
import type { CachedLayer, ModelContext, Step } from "./context.ts";
import { Linear, unstacked } from "./linear.ts";
import type { AttentionWeights } from "./weights.ts";

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
export function denseRows({ rows }: Step, way: Pick<SparsePrefillWay, "from"> | null): number {
  return way === null ? rows.length : Math.min(rows.length, Math.max(0, way.from - 1 - rows[0].position));
}

/** One layer's. */
export class SparsePrefill {
  readonly #device: Device;
  /** At a time, and where so many may begin at the latest. */
  readonly #rows: number;
  readonly #lastFirst: number;
  readonly #heads: number;
  readonly #latentWidth: number;
  /** Key projections as `absorb` takes them. */
  readonly #keyUp: Linear;
  readonly #absorb: BoundKernel<"rows" | "first_row">;
  readonly #attend: BoundKernel<"rows" | "first_row">;
  readonly #valueUp: (rows: number) => BoundKernel<LinearParams | "first_item">;
  readonly #valueParams: Record<LinearParams | "first_item", number>;

  private constructor(
    device: Device,
    { rows, absorb: { heads, queries: { keyWidth } } }: SparsePrefillWay,
    bound: {
      readonly keyUp: Linear;
      readonly absorb: BoundKernel<"rows" | "first_row">;
      readonly attend: BoundKernel<"rows" | "first_row">;
      readonly valueUp: (rows: number) => BoundKernel<LinearParams | "first_item">;
      readonly outputs: number;
      readonly lastFirst: number;
    },
  ) {
    this.#device = device;
    this.#rows = rows;
    this.#lastFirst = bound.lastFirst;
    this.#heads = heads;
    this.#latentWidth = keyWidth;
    this.#keyUp = bound.keyUp;
    this.#absorb = bound.absorb;
    this.#attend = bound.attend;
    this.#valueUp = bound.valueUp;
    this.#valueParams = { items: 0, first_item: 0, first_output: 0, part_outputs: bound.outputs, first_matrix: 0, matrices: heads };
  }

  /** Compiles and binds; null where no row attends so. */
  static async create(context: ModelContext, weights: AttentionWeights, { pages, decode: { config } }: CachedLayer): Promise<SparsePrefill | null> {
    const { device, activations: a, limits: { prefillRows }, cache: { slots }, sparseWay: way } = context;
    const sparse = a.sparse?.prefill ?? null;
    if (way === null || sparse === null) return null;
    const { cache, heads, valueOffset, valueWidth, scale } = config;
    const { rows, division, absorb } = way;
    const most = { rows, first_row: prefillRows - rows };
    const { topTokens } = context.spec.indexer!;
    const attended = { cache, slots, heads, valueOffset, valueWidth, scale, topTokens, stride: sparse.stride, division };
    const [keyUp, absorbed, attend, valueUp] = await Promise.all([
      Linear.create(context, unstacked(weights.keyUp), {
        x: sparse.identity,
        y: sparse.keyUp,
        halves: true,
        most: { prefill: absorb.queries.keyWidth, decode: 0 },
      }),
      device.compile(absorbUnits, absorb),
      device.compile(sparsePrefill, attended),
      bindValueUp(context, weights, way),
    ]);
    return new SparsePrefill(device, way, {
      keyUp,
      absorb: absorbed.bind({ weights: sparse.keyUp, x: a.q, queries: sparse.queries }, most),
      attend: attend.bind({ queries: sparse.queries, cache: pages, chosen: sparse.slots, step: a.step, out: sparse.sums }, most),
      valueUp,
      outputs: weights.valueUp.outputs,
      lastFirst: most.first_row,
    });
  }

  /**
   * Records it for the rows of a step from number `first` on, whose latents are stored. What becomes of rows before is nothing to rely on: where there are too few
   * behind, some of them are computed, too.
   */
  record({ rows: { length: all } }: Step, first: number): void {
    if (first === all) return;
    const device = this.#device;
    const heads = this.#heads;
    this.#keyUp.run("prefill", this.#latentWidth);
    const params = this.#valueParams;
    for (let done = first; done < all;) {
      // Where they do not come out even, the first are fewer, if memory is there for as many as ever behind them: otherwise some of those before are computed again.
      const rest = (all - done) % this.#rows;
      const rows = rest > 0 && done <= this.#lastFirst ? rest : Math.min(this.#rows, all);
      const part = { rows, first_row: Math.min(done, all - rows) };
      device.run(this.#absorb, part);
      device.run(this.#attend, part);
      device.run(this.#valueUp(rows), Object.assign(params, { items: rows * heads, first_item: part.first_row * heads }));
      done = part.first_row + rows;
    }
  }
}

/** Compiles and binds what projects sums of latents to values. @returns what does so for so many rows */
async function bindValueUp(
  { device, activations: a, limits: { prefillRows } }: ModelContext,
  { valueUp }: AttentionWeights,
  { rows, absorb: { heads } }: SparsePrefillWay,
): Promise<(rows: number) => BoundKernel<LinearParams | "first_item">> {
  const { layout, outputs, parts: [{ weights, scales }] } = valueUp;
  const shape = { layout, outputs, inputStride: layout.columns, input: "rounded", output: "f32", select: { kind: "head", heads } } as const;
  const whole = { first_output: 0, part_outputs: outputs, first_matrix: 0, matrices: heads };
  const most = { ...whole, items: rows * heads, first_item: (prefillRows - rows) * heads };
  const bound = new Map(
    await Promise.all(
      tileSizesFor(rows, outputs * heads).map(async (tileItems) => {
        const division = divideUnits({ ...shape, plan: null, tileItems }, device.limits.maxWorkgroupBytes)!;
        const kernel = await device.compile(headsUnits, { ...shape, tileItems, division });
        return [tileItems, kernel.bind({ weights, scales, routes: scales, x: a.sparse!.prefill!.sums, y: a.heads }, most)] as const;
      }),
    ),
  );
  return (rows) => bound.get(tileItemsFor(rows, outputs * heads))!;
}
