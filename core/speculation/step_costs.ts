/**
 * What a step takes by its rows: learned from steps, so that a draft is tried where its rows cost less than they bring.
 *
 * @module
 */

/** What steps of so many rows have taken. */
interface Measured {
  ms: number;
  /** How much that is believed, against what steps of other sizes say. */
  weight: number;
}

/** Most that is believed of one size. */
const MOST_WEIGHT = 8;

/** What is left of a belief after a step of another size. */
const KEPT = 0.995;

/** How much of the former mean goes on with another step. */
const SMOOTHED = 0.8;

/** What another row is thought to take before anything is known, in steps of one row. */
const FIRST_GUESS = 0.12;

/** Of one unit. Contexts that grow and others' prompts move it slowly, which it follows. */
export class StepCosts {
  readonly #measured = new Map<number, Measured>();
  /** Sizes that were seen once: the first step of a size prepares what later ones find. */
  readonly #begun = new Set<number>();

  /** A step has taken so long. */
  note(rows: number, ms: number): void {
    if (!this.#begun.has(rows)) {
      this.#begun.add(rows);
      return;
    }
    for (const measured of this.#measured.values()) measured.weight *= KEPT;
    const known = this.#measured.get(rows);
    if (known === undefined) this.#measured.set(rows, { ms, weight: 1 });
    else {
      // One that was held up says nothing of the next.
      known.ms = known.ms * SMOOTHED + Math.min(ms, known.ms * 2) * (1 - SMOOTHED);
      known.weight = Math.min(MOST_WEIGHT, known.weight + 1);
    }
  }

  /** Milliseconds that steps of `first … last` rows are expected to take; null: nothing is known. */
  expected(first: number, last: number): number[] | null {
    if (this.#measured.size === 0) return null;
    const { base, slope } = this.#line();
    return Array.from({ length: last - first + 1 }, (_, i) => {
      const line = base + slope * (first + i);
      const known = this.#measured.get(first + i);
      return known === undefined ? line : (known.ms * known.weight + line) / (known.weight + 1);
    });
  }

  /** The line through what is known, pulled to the first guess. */
  #line(): { readonly base: number; readonly slope: number } {
    let [weights, rows, ms] = [0, 0, 0];
    for (const [count, measured] of this.#measured) {
      weights += measured.weight;
      rows += measured.weight * count;
      ms += measured.weight * measured.ms;
    }
    const [meanRows, meanMs] = [rows / weights, ms / weights];
    const guess = meanMs * FIRST_GUESS / (1 + FIRST_GUESS * (meanRows - 1));
    let [squares, products] = [1, guess];
    for (const [count, measured] of this.#measured) {
      squares += measured.weight * (count - meanRows) ** 2;
      products += measured.weight * (count - meanRows) * (measured.ms - meanMs);
    }
    const slope = Math.max(0, products / squares);
    return { base: meanMs - slope * meanRows, slope };
  }
}
