/**
 * Copy on write: a sequence that goes its own way in the middle of a block gets a copy of what it shares of it, in every layer, and of index keys.
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
    const { slots, buffers, allocator: { blocks } } = model.cache;
    const kernels = await Promise.all(buffers.map(async ({ pages: cache, config }) => {
      const copy = await model.device.compile(blockCopy, { cache: config, slots });
      return copy.bind({ cache }, { source: blocks, copy: blocks, tokens: BLOCK_TOKENS });
    }));
    return new BlockCopier(model, kernels);
  }

  /** Records the copy of what is kept here of the first `ofBlock` tokens that a block stands for; of none, nothing. */
  record(source: number, copy: number, ofBlock: number): void {
    const tokens = keptTokens(this.#model.cache.share, ofBlock);
    if (tokens === 0) return;
    for (const layer of this.#layers) this.#model.device.run(layer, { source, copy, tokens });
  }
}
