/**
 * Triples of numbers, each kept once: what makes equal expressions the same expression.
 *
 * @module
 */

const FIRST_SLOTS = 1 << 10;

/** Nodes by what they consist of. */
export class NodeTable {
  readonly kinds: number[] = [];
  readonly lefts: number[] = [];
  readonly rights: number[] = [];
  /** Open addressing; a slot holds a node's number + 1, or 0. */
  #slots = new Int32Array(FIRST_SLOTS);

  get size(): number {
    return this.kinds.length;
  }

  /** The number of a node, a new one if `onNew` is called. */
  node(kind: number, left: number, right: number, onNew: (node: number) => void): number {
    const mask = this.#slots.length - 1;
    let slot = hash(kind, left, right) & mask;
    for (let held = this.#slots[slot]; held !== 0; held = this.#slots[slot = (slot + 1) & mask]) {
      const node = held - 1;
      if (this.lefts[node] === left && this.rights[node] === right && this.kinds[node] === kind) return node;
    }
    const node = this.kinds.push(kind) - 1;
    this.lefts.push(left);
    this.rights.push(right);
    this.#slots[slot] = node + 1;
    if (this.size * 2 > this.#slots.length) this.#grow();
    onNew(node);
    return node;
  }

  #grow(): void {
    const slots = this.#slots = new Int32Array(this.#slots.length * 2);
    const mask = slots.length - 1;
    for (let node = 0; node < this.size; node++) {
      let slot = hash(this.kinds[node], this.lefts[node], this.rights[node]) & mask;
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = node + 1;
    }
  }
}

function hash(kind: number, left: number, right: number): number {
  let h = Math.imul(left, 0x9e3779b1) ^ Math.imul(right + kind, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 15), 0xc2b2ae35);
  return (h ^ (h >>> 13)) >>> 0;
}
