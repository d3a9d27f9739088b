/**
 * A handoff on one device: of whole latents that prefill has cached, a rank copies the columns that it keeps, or the tokens, to the pages it decodes from. Nothing is converted, and
 * nothing comes back to the host.
 *
 * @module
 */
import { keptTokens } from "../../core/cache/token_share.ts";
import { invariant } from "../../core/errors.ts";
import type { RankShape } from "../../core/tpla/partition.ts";
import type { BoundKernel } from "../../kernels/device/device.ts";
import { latentSlice } from "../../kernels/latent_slice/latent_slice.ts";
import type { CachedSequence } from "../forward/latent_cache.ts";
import type { Model } from "../forward/model.ts";
import { keptOf, type Span } from "./latent_exporter.ts";

/** Copies from one model's cache to another's. */
export class LatentSlicer {
  readonly #to: Model;
  /** By layer, and of index keys behind them. */
  readonly #kernels: readonly BoundKernel<"count" | "start" | "table" | "kept_table">[];

  private constructor(to: Model, kernels: readonly BoundKernel<"count" | "start" | "table" | "kept_table">[]) {
    this.#to = to;
    this.#kernels = kernels;
  }

  /** @param from has whole latents @param to has those of `shape`, on the same device */
  static async create(from: Model, to: Model, shape: RankShape): Promise<LatentSlicer> {
    const { device, cache, limits: { prefillRows } } = from;
    const { cache: kept } = to;
    invariant(device === to.device && cache.dtype === kept.dtype, "both caches are on one device, in one precision");
    const { latents } = shape;
    invariant(latents.every(({ keyWidth }, layer) => kept.buffers[layer].config.keyWidth === keyWidth), "a cache that keeps other columns");
    const { slots, tableWords } = cache;
    const most = { count: prefillRows, start: cache.maxContext, table: tableWords, kept_table: kept.tableWords };
    const kernels = await Promise.all(cache.buffers.map(async ({ pages }, buffer) => {
      const { pages: out, slots: keptSlots, blockTokens } = kept.buffers[buffer];
      const place = { slots: keptSlots, blockTokens, tableWords: kept.tableWords };
      const slice = await device.compile(latentSlice, { ...keptOf(cache, buffer, shape), slots, tableWords, kept: place });
      return slice.bind({ cache: pages, tables: cache.tables, kept_tables: kept.tables, out }, most);
    }));
    return new LatentSlicer(to, kernels);
  }

  /** Records the copy of one layer's latents of a span, as far as they are kept, to the same positions of `kept`, whose blocks must be held. */
  record(layer: number, { sequence, start, count }: Span, kept: CachedSequence): void {
    const { device, cache: { buffers } } = this.#to;
    const [begin, end] = [start, start + count].map((tokens) => keptTokens(buffers[layer].tokens, tokens));
    device.run(this.#kernels[layer], { count: end - begin, start: begin, table: sequence.table, kept_table: kept.table });
  }
}
