/**
 * A unit that remembers which token lies in which cell of its cache, and is as strict as a rank about blocks. Whatever the scheduler shares wrongly shows here.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { BlockAllocator } from "../../../core/cache/blocks.ts";

interface Held {
  readonly blocks: number[];
  length: number;
}

/** One prefill unit or decode group. */
export class SimulatedUnit {
  readonly blockTokens: number;
  #allocator: BlockAllocator;
  #cells: (number | undefined)[];
  readonly held = new Map<number, Held>();

  constructor(blocks: number, blockTokens: number) {
    this.blockTokens = blockTokens;
    this.#allocator = new BlockAllocator(blocks);
    this.#cells = new Array(blocks * blockTokens);
  }

  get free(): number {
    return this.#allocator.free;
  }

  /** A new epoch: nothing is open any more; what was written stays. */
  reset(): void {
    for (const id of [...this.held.keys()]) this.close(id);
  }

  /** @param shared tokens that are there already */
  open(id: number, blocks: readonly number[], shared: number): void {
    assert(!this.held.has(id), "opened twice");
    assertEquals(shared % this.blockTokens, 0, "whole blocks are shared");
    this.held.set(id, { blocks: [], length: shared });
    this.grow(id, blocks, shared / this.blockTokens);
  }

  grow(id: number, blocks: readonly number[], shared = 0): void {
    blocks.forEach((block, i) => i < shared ? this.#allocator.hold(block) : this.#allocator.take(block));
    this.held.get(id)!.blocks.push(...blocks);
  }

  close(id: number): void {
    for (const block of this.held.get(id)?.blocks ?? []) this.#allocator.release(block);
    this.held.delete(id);
  }

  /** Writes a sequence's next token; drafts that it is written over are forgotten. */
  write(id: number, position: number, token: number): void {
    const held = this.held.get(id)!;
    assert(position <= held.length, "tokens are written in order");
    this.#cells[this.#cell(held, position)] = token;
    held.length = position + 1;
  }

  fork(id: number, from: number, tokens: number, blocks: readonly number[]): void {
    const origin = this.held.get(from)!;
    const whole = Math.floor(tokens / this.blockTokens);
    assert(tokens <= origin.length, "what is forked is there");
    this.held.set(id, { blocks: [], length: tokens });
    this.grow(id, blocks, whole);
    const fork = this.held.get(id)!;
    for (let position = whole * this.blockTokens; position < tokens; position++) {
      this.#cells[this.#cell(fork, position)] = this.#cells[this.#cell(origin, position)];
    }
  }

  /** What attention would see. */
  context(id: number): (number | undefined)[] {
    const held = this.held.get(id)!;
    return Array.from({ length: held.length }, (_, position) => this.#cells[this.#cell(held, position)]);
  }

  #cell({ blocks }: Held, position: number): number {
    const block = blocks[Math.floor(position / this.blockTokens)];
    assert(block !== undefined, `position ${position} has no block`);
    return block * this.blockTokens + (position % this.blockTokens);
  }
}
