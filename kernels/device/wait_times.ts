/**
 * How long work of one kind takes, from how long it took before.
 *
 * @module
 */

/** What was seen of a wait, in milliseconds since it began. */
export interface Seen {
  /** What was expected. */
  readonly expected: number;
  /** When work was last seen not to be done; 0 if it was not looked at before it was. */
  readonly unfinished: number;
  /** When it was seen to be done. */
  readonly finished: number;
}

/** Waits of about the same amount that are remembered. */
const REMEMBERED = 5;
/** Of these in order, the place of the one that is expected: one that was short by chance is passed over, any number of long ones are. */
const QUARTILE = 1 / 4;
/** Amounts are about the same if their logarithms are, to so many parts of a power of two; those a whole power apart say nothing of each other. */
const PARTS = 4;
/** What is left of an expectation if work was done at the first poll: it may have been done long before. After so many times in a row each takes twice as much off as the one before. */
const SHORTENED = 0.97;
const [IN_A_ROW, MOST_IN_A_ROW] = [2, 5];

/** The class of no work at all, far from all others. */
const NOTHING = -1000;

/** Remembers how long work took, apart for every amount of it: a prompt says nothing of a step. */
export class WaitTimes {
  readonly #lasted = new Map<number, number[]>();
  /** How many of the last waits in a row were over at the first poll. */
  readonly #over = new Map<number, number>();

  /** Milliseconds that an amount of work, in any unit, is going to take, or what it takes at the least; 0 if nothing is known of it. */
  expected(amount: number): number {
    const own = classOf(amount);
    const known = this.#of(own);
    if (known !== null) return known;
    // More work takes no less, and half of it no less than half: some of what it takes does not depend on how much it is.
    for (let apart = 1; apart <= PARTS; apart++) {
      const [less, more] = [this.#of(own - apart), this.#of(own + apart)];
      if (less !== null || more !== null) return Math.max(less ?? 0, (more ?? 0) * 2 ** (-apart / PARTS));
    }
    return 0;
  }

  /** Of one class; null if there was none yet. */
  #of(amounts: number): number | null {
    const lasted = this.#lasted.get(amounts) ?? [];
    return lasted.toSorted((a, b) => a - b)[Math.floor((lasted.length - 1) * QUARTILE)] ?? null;
  }

  /** Learns from a wait. */
  note(amount: number, { expected, unfinished, finished }: Seen): void {
    const own = classOf(amount);
    const known = this.#lasted.get(own);
    const over = unfinished < expected && expected <= finished ? Math.min(1 + (this.#over.get(own) ?? 0), MOST_IN_A_ROW) : 0;
    this.#over.set(own, over);
    // Done before it was expected, or at once time after time, it is not what it was.
    const lasted = known === undefined || finished < expected || over > IN_A_ROW ? [] : known;
    lasted.push(over === 0 ? (unfinished + finished) / 2 : Math.max(unfinished, expected * SHORTENED ** (2 ** Math.max(0, over - IN_A_ROW))));
    if (lasted.length > REMEMBERED) lasted.shift();
    this.#lasted.set(own, lasted);
  }
}

function classOf(amount: number): number {
  return amount === 0 ? NOTHING : Math.round(Math.log2(amount) * PARTS);
}
