/**
 * Cache blocks that stay after their sequence has ended, so that the next prompt which begins alike need not be computed again. Pure bookkeeping.
 *
 * @module
 */
import { invariant } from "../errors.ts";
import { BlockAllocator } from "./blocks.ts";

/** An allocator that remembers what published blocks hold, and forgets the longest unused when room is needed. */
export class PrefixCache {
  readonly #allocator: BlockAllocator;
  readonly #blockOf = new Map<string, number>();
  readonly #hashOf = new Map<number, string>();
  /** Published blocks that no sequence holds, longest unused first. */
  readonly #unused = new Set<number>();

  constructor(blocks: number) {
    this.#allocator = new BlockAllocator(blocks);
  }

  get blocks(): number {
    return this.#allocator.blocks;
  }

  /** Blocks that can be allocated: free ones, and published ones that no sequence holds. */
  get available(): number {
    return this.#allocator.free + this.#unused.size;
  }

  /** Blocks that hold a published prefix. */
  get published(): number {
    return this.#hashOf.size;
  }

  /** How many blocks from the beginning of a prompt are here. */
  matches(hashes: readonly string[]): number {
    let count = 0;
    while (count < hashes.length && this.#blockOf.has(hashes[count])) count++;
    return count;
  }

  /** How many of the first `count` blocks of a prompt, which must be here, no sequence holds: sharing them leaves fewer to allocate. */
  unusedAmong(hashes: readonly string[], count: number): number {
    return hashes.slice(0, count).filter((hash) => this.#unused.has(this.#blockOf.get(hash)!)).length;
  }

  /** Takes a reference to each of the first `count` blocks of a prompt, which must be here. */
  share(hashes: readonly string[], count: number): number[] {
    return hashes.slice(0, count).map((hash) => {
      const block = this.#blockOf.get(hash);
      invariant(block !== undefined, "a shared prefix is there");
      this.retain(block);
      return block;
    });
  }

  /** Takes one more reference to a block that is in use or published. */
  retain(block: number): void {
    this.#allocator.share(block);
    this.#unused.delete(block);
  }

  canAllocate(count: number): boolean {
    return count <= this.available;
  }

  /** Takes fresh blocks. @throws {LatentmeshError} `capacity` if there are not as many */
  allocate(count: number): number[] {
    return Array.from({ length: count }, () => {
      if (this.#allocator.free === 0) this.#evict();
      return this.#allocator.allocate();
    });
  }

  /** Says what a block holds that the caller has written. Where another block holds the same already, that one stays known and this one private. */
  publish(hash: string, block: number): void {
    if (this.#blockOf.has(hash) || this.#hashOf.has(block)) return;
    this.#allocator.share(block);
    this.#blockOf.set(hash, block);
    this.#hashOf.set(block, hash);
  }

  /** Gives references back. Of a sequence's blocks the last are forgotten first: a prefix is of use without its end, not the other way round. */
  release(blocks: readonly number[]): void {
    for (const block of blocks.toReversed()) {
      this.#allocator.release(block);
      if (this.#hashOf.has(block) && this.#allocator.references(block) === 1) this.#unused.add(block);
    }
  }

  /** Throws unless every block is free, published or held. @param held every reference that sequences hold */
  checkIntegrity(held: Iterable<number>): void {
    this.#allocator.checkIntegrity();
    const expected = new Uint32Array(this.blocks);
    for (const block of held) expected[block]++;
    for (const block of this.#hashOf.keys()) {
      invariant(this.#unused.has(block) === (expected[block] === 0), `published block ${block} is unused or held`);
      expected[block]++;
    }
    invariant(this.#hashOf.size === this.#blockOf.size, "every published block has one name");
    for (let block = 0; block < this.blocks; block++) {
      const references = this.#allocator.references(block);
      invariant(references === expected[block], `block ${block} has ${references} references where ${expected[block]} are known`);
    }
  }

  #evict(): void {
    const [block] = this.#unused;
    if (block === undefined) return;
    this.#unused.delete(block);
    this.#blockOf.delete(this.#hashOf.get(block)!);
    this.#hashOf.delete(block);
    this.#allocator.release(block);
  }
}
