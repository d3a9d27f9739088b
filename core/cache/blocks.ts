/**
 * Allocation of cache blocks: pure bookkeeping, no bytes. One allocator serves every layer and every rank, because they all use the same block ids.
 *
 * @module
 */
import { invariant, LatentmeshError } from "../errors.ts";

/** Tokens of a block; kernels are made for it. */
export const BLOCK_TOKENS = 64;

/** Hands out block ids with reference counts. */
export class BlockAllocator {
  readonly blocks: number;
  readonly #references: Uint32Array<ArrayBuffer>;
  /** Low ids first, so that runs are easy to read in a trace. */
  readonly #free: Set<number>;

  constructor(blocks: number) {
    this.blocks = blocks;
    this.#references = new Uint32Array(blocks);
    this.#free = new Set(this.#references.keys());
  }

  /** Blocks nobody holds. */
  get free(): number {
    return this.#free.size;
  }

  /** How many hold a block. */
  references(block: number): number {
    return this.#references[block];
  }

  canAllocate(count: number): boolean {
    return count <= this.#free.size;
  }

  /** Takes one block with one reference. @throws {LatentmeshError} `capacity` if none is free */
  allocate(): number {
    const [block] = this.#free;
    if (block === undefined) throw new LatentmeshError("capacity", `All ${this.blocks} cache blocks are in use`);
    this.take(block);
    return block;
  }

  /** Takes a particular block, where somebody else decides which. @throws {LatentmeshError} `protocol` if it is not free or does not exist */
  take(block: number): void {
    if (!this.#free.delete(block)) throw new LatentmeshError("protocol", `Cache block ${block} of ${this.blocks} is not free`);
    this.#references[block] = 1;
  }

  /** Adds a reference to a block that is held already. */
  share(block: number): void {
    invariant(this.#references[block] > 0, `block ${block} is shared but free`);
    this.#references[block]++;
  }

  /** Takes a block if it is free, else shares it, where somebody else decides which. @throws {LatentmeshError} `protocol` if it does not exist */
  hold(block: number): void {
    if (this.#references[block] > 0) this.share(block);
    else this.take(block);
  }

  /** Drops one reference; the last one frees the block. */
  release(block: number): void {
    invariant(this.#references[block] > 0, `block ${block} is released twice`);
    if (--this.#references[block] === 0) this.#free.add(block);
  }

  /** Throws unless every block is either free exactly once or referenced. */
  checkIntegrity(): void {
    for (let block = 0; block < this.blocks; block++) {
      const free = this.#free.has(block);
      invariant(free === (this.#references[block] === 0), `block ${block} is ${free ? "free but referenced" : "lost"}`);
    }
  }
}
