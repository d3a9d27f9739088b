/**
 * Copy on write: a sequence that goes its own way in the middle of a block gets a copy of what it shares of it, in every layer, and of index keys.
 *
 * @module
 */
import { keptTokens } from "../../core/cache/token_share.ts";
import { blockCopy } from "../../kernels/block_copy/block_copy.ts";
import type { BoundKernel } from "../../kernels/device/device.ts";
import type { Model } from "../forward/model.ts";

/** Copies beginnings of blocks. */
export class BlockCopier {
  readonly #model: Model;
  /** Of each buffer of the cache. */
  readonly #kernels: readonly BoundKernel<"source" | "copy" | "tokens">[];

  private constructor(model: Model, kernels: readonly BoundKernel<"source" | "copy" | "tokens">[]) {
    this.#model = model;
    this.#kernels = kernels;
  }

  static async create(model: Model): Promise<BlockCopier> {
    const { buffers, allocator: { blocks } } = model.cache;
    const kernels = await Promise.all(buffers.map(async ({ pages: cache, config, slots, blockTokens }) => {
      const copy = await model.device.compile(blockCopy, { cache: config, slots, blockTokens });
      return copy.bind({ cache }, { source: blocks, copy: blocks, tokens: blockTokens });
    }));
    return new BlockCopier(model, kernels);
  }

  /** Records the copy of what is kept here of the first `ofBlock` tokens that a block stands for; of none, nothing. */
  record(source: number, copy: number, ofBlock: number): void {
    const { device, cache: { buffers } } = this.#model;
    this.#kernels.forEach((kernel, buffer) => {
      const tokens = keptTokens(buffers[buffer].tokens, ofBlock);
      if (tokens > 0) device.run(kernel, { source, copy, tokens });
    });
  }
}
