/**
 * The changes to one sequence's logits as devices take them.
 *
 * @module
 */
import { floatBits } from "../../core/numeric.ts";
import type { Adjustment, Adjustments } from "../../core/sampling/adjustments.ts";
import { ADJUSTMENT_WORDS } from "../../kernels/adjust_logits/adjust_logits.ts";

/** A list of changes that several sequences begin with, in the layout of the kernel but for the row. */
export class AdjustmentBase {
  static readonly EMPTY: AdjustmentBase = new AdjustmentBase([]);
  readonly count: number;
  readonly words: Uint32Array<ArrayBuffer>;
  readonly #at = new Map<number, number>();

  /** @param adjustments at most one for each token */
  constructor(adjustments: readonly Adjustment[]) {
    this.count = adjustments.length;
    this.words = new Uint32Array(adjustments.length * ADJUSTMENT_WORDS);
    adjustments.forEach((adjustment, i) => {
      pack(this.words, i, adjustment);
      this.#at.set(adjustment.token, i);
    });
  }

  /** Which one of the list is about a token. */
  indexOf(token: number): number | undefined {
    return this.#at.get(token);
  }
}

/** Changes to the logits of one row. */
export interface RowAdjustments {
  readonly count: number;
  /**
   * Writes them for the kernel, in as many parts as must be.
   *
   * @param row that they are about
   * @param next gives room for some more, at least one: words, and how many adjustments fit
   */
  write(row: number, next: (most: number) => Uint32Array<ArrayBuffer>): void;
}

/** One sequence's: a base, and what has changed since. */
export class AdjustmentList implements RowAdjustments {
  #base = AdjustmentBase.EMPTY;
  /** Instead of those of the base, by their index there. */
  readonly #replaced = new Map<number, Adjustment>();
  /** Of other tokens. */
  readonly #added = new Map<number, Adjustment>();
  /** What {@link follow} has taken over. */
  #followed: { readonly of: Adjustments; length: number } | null = null;

  get count(): number {
    return this.#base.count + this.#added.size;
  }

  /** Begins anew. */
  restart(base: AdjustmentBase): void {
    this.#base = base;
    this.#replaced.clear();
    this.#added.clear();
  }

  /** Takes a change instead of what there was of its token. */
  set(adjustment: Adjustment): void {
    const index = this.#base.indexOf(adjustment.token);
    if (index === undefined) this.#added.set(adjustment.token, adjustment);
    else this.#replaced.set(index, adjustment);
  }

  /** What there would be after some more changes; of use as long as this stays as it is. */
  ahead(changes: readonly Adjustment[]): RowAdjustments {
    if (changes.length === 0) return this;
    const added = changes.filter(({ token }) => this.#base.indexOf(token) === undefined && !this.#added.has(token));
    return { count: this.count + added.length, write: (row, next) => this.#with(changes, () => this.write(row, next)) };
  }

  /** Does something while changes are made, which are taken back. */
  #with(changes: readonly Adjustment[], work: () => void): void {
    const places = changes.map(({ token }) => {
      const index = this.#base.indexOf(token);
      return index === undefined ? { of: this.#added, key: token } : { of: this.#replaced, key: index };
    });
    const before = places.map(({ of, key }) => of.get(key));
    for (const change of changes) this.set(change);
    try {
      work();
    } finally {
      places.forEach(({ of, key }, i) => before[i] === undefined ? of.delete(key) : of.set(key, before[i]));
    }
  }

  /** Takes over what is new of a sequence's. */
  follow(of: Adjustments): this {
    if (this.#followed?.of !== of) {
      this.restart(new AdjustmentBase(of.base));
      this.#followed = { of, length: 0 };
    }
    for (const adjustment of of.log.slice(this.#followed.length)) this.set(adjustment);
    this.#followed.length = of.log.length;
    return this;
  }

  write(row: number, next: (most: number) => Uint32Array<ArrayBuffer>): void {
    const { count, words } = this.#base;
    for (let start = 0; start < count;) {
      const part = next(count - start);
      const end = start + part.length / ADJUSTMENT_WORDS;
      part.set(words.subarray(start * ADJUSTMENT_WORDS, end * ADJUSTMENT_WORDS));
      for (let i = 0; i < part.length; i += ADJUSTMENT_WORDS) part[i] = row;
      for (const [index, adjustment] of this.#replaced) {
        if (index < start || index >= end) continue;
        pack(part, index - start, adjustment, row);
      }
      start = end;
    }
    for (const adjustment of this.#added.values()) pack(next(1), 0, adjustment, row);
  }
}

function pack(words: Uint32Array, index: number, { token, repetition, addend }: Adjustment, row = 0): void {
  words.set([row, token, floatBits(repetition), floatBits(addend)], index * ADJUSTMENT_WORDS);
}
