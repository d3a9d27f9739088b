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
/** Amounts are about the same if their logarithms are, to so many parts of a power of two. */
const PARTS = 4;
/** What is left of an expectation if work was done at the first poll: it may have been done long before. */
const SHORTENED = 0.97;

/** Remembers how long work took, apart for every amount of it: a prompt says nothing of a step. */
export class WaitTimes {
  readonly #lasted = new Map<number, number[]>();

  /** Milliseconds that an amount of work, in any unit, is going to take; 0 if that is not known. */
  expected(amount: number): number {
    const lasted = this.#lasted.get(classOf(amount)) ?? [];
    return lasted.toSorted((a, b) => a - b)[Math.floor((lasted.length - 1) * QUARTILE)] ?? 0;
  }

  /** Learns from a wait. */
  note(amount: number, { expected, unfinished, finished }: Seen): void {
    const known = this.#lasted.get(classOf(amount));
    // Done before it was expected, it is not what it was.
    const lasted = known === undefined || finished < expected ? [] : known;
    lasted.push(unfinished < expected && expected <= finished ? expected * SHORTENED : (unfinished + finished) / 2);
    if (lasted.length > REMEMBERED) lasted.shift();
    this.#lasted.set(classOf(amount), lasted);
  }
}

function classOf(amount: number): number {
  return amount === 0 ? -1 : Math.round(Math.log2(amount) * PARTS);
}
