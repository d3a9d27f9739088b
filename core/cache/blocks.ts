/**
 * Allocation of cache blocks: pure bookkeeping, no bytes. One allocator serves every layer and every rank, because they all use the same block ids.
 *
 * @module
 */
import { invariant, LatentmeshError } from "../errors.ts";

/** Hands out block ids with reference counts. */
export class BlockAllocator {
  readonly blocks: number;
  readonly #references: Uint32Array<ArrayBuffer>;
  readonly #free: number[];

  constructor(blocks: number) {
    this.blocks = blocks;
    this.#references = new Uint32Array(blocks);
    // Popped from the end: low ids first, so that runs are easy to read in a trace.
    this.#free = Array.from({ length: blocks }, (_, i) => blocks - 1 - i);
  }

  /** Blocks nobody holds. */
  get free(): number {
    return this.#free.length;
  }

  canAllocate(count: number): boolean {
    return count <= this.#free.length;
  }

  /** Takes one block with one reference. @throws {LatentmeshError} `capacity` if none is free */
  allocate(): number {
    const block = this.#free.pop();
    if (block === undefined) throw new LatentmeshError("capacity", `All ${this.blocks} cache blocks are in use`);
    this.#references[block] = 1;
    return block;
  }

  /** Adds a reference to a block that is held already. */
  share(block: number): void {
    invariant(this.#references[block] > 0, `block ${block} is shared but free`);
    this.#references[block]++;
  }

  /** Drops one reference; the last one frees the block. */
  release(block: number): void {
    invariant(this.#references[block] > 0, `block ${block} is released twice`);
    if (--this.#references[block] === 0) this.#free.push(block);
  }

  /** Throws unless every block is either free exactly once or referenced. */
  checkIntegrity(): void {
    const free = new Set(this.#free);
    invariant(free.size === this.#free.length, "a block is free twice");
    for (let block = 0; block < this.blocks; block++) {
      invariant(free.has(block) === (this.#references[block] === 0), `block ${block} is ${free.has(block) ? "free but referenced" : "lost"}`);
    }
  }
}
