/**
 * Attention of prefill rows to nothing but what was chosen for them: absorbed, as in decode, some rows at a time. From some context on that is quicker than attending
 * to expanded keys and values of all tokens, with those masked that were not chosen (`prefill_attention.ts`).
 *
 * @module
 */
import { absorbUnits } from "../../kernels/absorb/absorb_units.ts";
import type { BoundKernel, Device } from "../../kernels/device/device.ts";
import { headsUnits } from "../../kernels/linear/heads_units.ts";
import type { LinearParams } from "../../kernels/linear/linear.ts";
import { divideUnits, tileItemsFor, tileSizesFor } from "../../kernels/linear/matmul_units.ts";
import { sparsePrefill } from "../../kernels/sparse_prefill/sparse_prefill.ts";
import type { CachedLayer, ModelContext, Step } from "./context.ts";
import { Linear, unstacked } from "./linear.ts";
import type { SparsePrefillWay } from "./sparse_way.ts";
import type { AttentionWeights } from "./weights.ts";

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
