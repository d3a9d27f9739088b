/**
 * Copy on write: a sequence that goes its own way in the middle of a block gets a copy of what it shares of it, in every layer.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { keptTokens } from "../../core/cache/token_share.ts";
import { blockCopy } from "../../kernels/block_copy/block_copy.ts";
import type { BoundKernel } from "../../kernels/device/device.ts";
import type { Model } from "../forward/model.ts";

/** Copies beginnings of blocks. */
export class BlockCopier {
  readonly #model: Model;
  readonly #layers: readonly BoundKernel<"source" | "copy" | "tokens">[];

  private constructor(model: Model, layers: readonly BoundKernel<"source" | "copy" | "tokens">[]) {
    this.#model = model;
    this.#layers = layers;
  }

  static async create(model: Model): Promise<BlockCopier> {
    const { config, slots, layers, allocator } = model.cache;
    const copy = await model.device.compile(blockCopy, { cache: config, slots });
    return new BlockCopier(
      model,
      layers.map((cache) => copy.bind({ cache }, { source: allocator.blocks, copy: allocator.blocks, tokens: BLOCK_TOKENS })),
    );
  }

  /** Records the copy of what is kept here of the first `ofBlock` tokens that a block stands for; of none, nothing. */
  record(source: number, copy: number, ofBlock: number): void {
    const tokens = keptTokens(this.#model.cache.share, ofBlock);
    if (tokens === 0) return;
    for (const layer of this.#layers) this.#model.device.run(layer, { source, copy, tokens });
  }
}
