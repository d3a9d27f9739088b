/**
 * Sets of bytes, and partitions of all bytes into classes that no expression tells apart. Each is kept once and has a number.
 *
 * @module
 */

/** A set of bytes: bit b of word b >>> 5 stands for byte b. */
export type ByteSet = Uint32Array<ArrayBuffer>;

/** Classes of bytes: the class of every byte, and one byte of every class. */
export interface Partition {
  readonly classOf: Uint8Array<ArrayBuffer>;
  readonly members: readonly number[];
}

/** A set from inclusive ranges. */
export function byteSet(...ranges: readonly (readonly [from: number, to: number])[]): ByteSet {
  const set = new Uint32Array(8);
  for (const [from, to] of ranges) for (let byte = from; byte <= to; byte++) set[byte >>> 5] |= 1 << (byte & 31);
  return set;
}

/** Keeps sets and partitions. */
export class ByteSets {
  readonly #sets: ByteSet[] = [];
  readonly #numbers = new Map<string, number>();
  readonly #partitions: Partition[] = [];
  readonly #partitionNumbers = new Map<string, number>();
  readonly #met = new Map<number, number>();
  readonly #split: number[] = [];

  constructor() {
    this.#keep(new Uint8Array(256));
  }

  /** The number of a set. */
  number(set: ByteSet): number {
    const key = String.fromCharCode(...new Uint16Array(set.buffer));
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    this.#numbers.set(key, this.#sets.length);
    return this.#sets.push(set) - 1;
  }

  set(number: number): ByteSet {
    return this.#sets[number];
  }

  has(number: number, byte: number): boolean {
    return ((this.#sets[number][byte >>> 5] >>> (byte & 31)) & 1) === 1;
  }

  isEmpty(number: number): boolean {
    return this.#sets[number].every((word) => word === 0);
  }

  combined(a: number, b: number, how: "union" | "intersection"): number {
    if (a === b) return a;
    const other = this.#sets[b];
    return this.number(this.#sets[a].map((word, i) => how === "union" ? word | other[i] : word & other[i]) as ByteSet);
  }

  /** The partition in which all bytes are alike. */
  readonly whole = 0;

  partition(number: number): Partition {
    return this.#partitions[number];
  }

  /** What is in a set, and what is not. */
  splitBy(set: number): number {
    return this.#split[set] ??= this.#keep(Uint8Array.from({ length: 256 }, (_, byte) => this.has(set, byte) ? 1 : 0));
  }

  /** The coarsest partition that tells apart what either of two does. */
  meet(a: number, b: number): number {
    if (a === b || b === this.whole) return a;
    if (a === this.whole) return b;
    const key = a < b ? a * 2 ** 26 + b : b * 2 ** 26 + a;
    const known = this.#met.get(key);
    if (known !== undefined) return known;
    const [first, second] = [this.#partitions[a].classOf, this.#partitions[b].classOf];
    const numbers = new Map<number, number>();
    const classOf = new Uint8Array(256);
    for (let byte = 0; byte < 256; byte++) {
      const pair = first[byte] * 256 + second[byte];
      let number = numbers.get(pair);
      if (number === undefined) numbers.set(pair, number = numbers.size);
      classOf[byte] = number;
    }
    const met = this.#keep(classOf);
    this.#met.set(key, met);
    return met;
  }

  /** Classes are numbered in the order in which their first bytes come, so that equal partitions look the same. */
  #keep(classes: Uint8Array): number {
    const renamed = new Map<number, number>();
    const members: number[] = [];
    const classOf = classes.map((name, byte) => {
      const number = renamed.get(name);
      if (number !== undefined) return number;
      renamed.set(name, members.length);
      return members.push(byte) - 1;
    }) as Uint8Array<ArrayBuffer>;
    const key = String.fromCharCode(...classOf);
    const known = this.#partitionNumbers.get(key);
    if (known !== undefined) return known;
    this.#partitionNumbers.set(key, this.#partitions.length);
    return this.#partitions.push({ classOf, members }) - 1;
  }
}
