/**
 * Blocks of host memory on their way to a device: which are free, and who waits for one.
 *
 * @module
 */
import type { Staging, StagingBlock } from "../device.ts";

/** Blocks that take turns. */
export abstract class BlockRing<B extends StagingBlock> implements Staging {
  readonly #free: B[] = [];
  readonly #waiting: { resolve(block: B): void; reject(error: unknown): void }[] = [];
  readonly #pending = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | null = null;

  take(): Promise<B> {
    if (this.#failure !== null) return Promise.reject(this.#failure.error);
    const block = this.#free.pop();
    return block === undefined ? new Promise((resolve, reject) => this.#waiting.push({ resolve, reject })) : Promise.resolve(block);
  }

  async close(): Promise<void> {
    await Promise.all(this.#pending);
    this.destroy(this.#free.splice(0));
  }

  /** Frees the memory of blocks. */
  protected abstract destroy(blocks: readonly B[]): void;

  /** @param block that can be filled from now on */
  protected release(block: B): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free.push(block);
    else next.resolve(block);
  }

  /** @param taken gives the block that can be filled when the device has taken another one's bytes */
  protected releaseWhen(taken: Promise<B>): void {
    const pending = taken.then((block) => this.release(block), (error) => this.#fail(error)).finally(() => this.#pending.delete(pending));
    this.#pending.add(pending);
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}
