/**
 * When Dawn polls whether the device is done.
 *
 * Dawn's binding polls in every turn of the event loop, several hundred thousand times a second, and hands `setImmediate` a new native function for each poll.
 * Deno lets go of such functions in time that grows with the square of their number: 30,000 of them stop the process for 0.4 s, 60,000 for 1.9. They are
 * born old: only a whole collection lets go of them, and many of them bring one about. So the loop turns without Dawn until the work is about to be done, polls
 * are few where it was expected too soon, and what they leave behind is collected while it is little, unless V8 has done so by itself.
 *
 * Nothing but habit ties a poll to a turn of the loop: who cannot let the loop turn takes polls at once ({@link Wait.untilNow}).
 *
 * @module
 */
import { WaitTimes } from "./wait_times.ts";

/** A poll that Dawn asks for; it asks for the next one in it, or tells whoever waits. */
export type Poll = () => void;

/** A wait that has begun. */
export interface Wait {
  /** Awaits the work. */
  until<T>(work: Promise<T>): Promise<T>;
  /**
   * Polls until the work is done, without a turn of the event loop; no promise settles meanwhile.
   *
   * @param idle called over and over while nothing is due for {@link IDLE}
   * @returns false if it takes longer than {@link LONGEST_NOW}, or is known to; {@link Wait.until} then goes on
   */
  untilNow(done: () => boolean, idle?: () => void): boolean;
}

/** Begins to wait for work of one kind. @param amount how much work it is, in any unit; the same amount takes about as long each time */
export type WaitKind = (amount: number) => Wait;

/** Time and the event loop. */
export interface EventLoop {
  /** In milliseconds. */
  now(): number;
  /** Calls back in the next turn. */
  nextTurn(call: () => void): void;
  /** Collects garbage. */
  collect(): void;
  /** Calls back soon after a poll was collected, and with it all that were taken before. */
  whenCollected(poll: Poll, call: () => void): void;
}

/** Most milliseconds that the event loop stands still for a wait. */
export const LONGEST_NOW = 20;
/** Least milliseconds until the next poll in which something else can be done: what uploading a part of a sum takes, so that no poll is late for it. */
export const IDLE = 0.03;
/** Least milliseconds from one poll to the next. */
const LEAST_PAUSE = 0.006;
/** The same as parts of what has been waited for: pauses are as long as the work is overdue, within these bounds. */
const [SHORT_PAUSE, LONG_PAUSE] = [1 / 128, 1 / 24];
/** Likewise while the work is not expected to be done yet: where the expectation is wrong, it costs half of what the work took, or some milliseconds. */
const [LEAST_DOUBT, DOUBT] = [0.5, 1 / 2];
/** Where more is expected, a part of that, up to so many milliseconds, instead of the least. */
const [EXPECTED_DOUBT, MOST_DOUBT] = [1 / 4, 3];

/** Polls after which they are collected if there is time for it; within these bounds whether there is or not. */
const FEW_POLLS = 500;
const [LEAST_POLLS, MOST_POLLS] = [5000, 20_000];
/** Milliseconds that a number of polls takes to be let go of, divided by its square (bench/NOTES.md). */
const PER_SQUARE = 0.45e-6;
/** Milliseconds of a collection before one has been timed. */
const COLLECTION = 50;

interface Expectation {
  readonly began: number;
  readonly expected: number;
}

/** Lets Dawn poll when something may have come of it. */
export class DawnPolling {
  readonly #loop: EventLoop;
  readonly #waits = new Set<Expectation>();
  /** Polls that Dawn has asked for. */
  #asked: Poll[] = [];
  #turning = false;
  #last = -Infinity;
  #lastButOne = -Infinity;
  #taken = 0;
  /** Polls that are not collected, most that may be, and how long it took the last time. */
  #polls = 0;
  /** Whether one of them is going to tell when it is collected. */
  #marked = false;
  #most = LEAST_POLLS;
  #collection = COLLECTION;

  constructor(loop: EventLoop) {
    this.#loop = loop;
  }

  /** Takes a poll as soon as one is due. */
  readonly schedule = (poll: Poll): void => {
    this.#asked.push(poll);
    this.#askForTurn();
  };

  /** Polls so far. */
  get taken(): number {
    return this.#taken;
  }

  /** A way to wait for one kind of work. */
  kind(): WaitKind {
    const times = new WaitTimes();
    return (amount) => this.#begin(times, amount);
  }

  #begin(times: WaitTimes, amount: number): Wait {
    const began = this.#loop.now();
    const wait: Expectation = { began, expected: times.expected(amount) };
    const note = () => {
      // Nobody looked: it was done before.
      if (this.#last <= began) return;
      times.note(amount, { expected: wait.expected, unfinished: Math.max(0, this.#lastButOne - began), finished: this.#last - began });
    };
    return {
      until: async (work) => {
        this.#waits.add(wait);
        try {
          return await work;
        } finally {
          this.#waits.delete(wait);
          note();
        }
      },
      untilNow: (done, idle) => {
        const end = began + LONGEST_NOW;
        if (began + wait.expected > end) return false;
        while (!done()) {
          const due = Math.min(end, this.#dueFor(wait));
          let now = this.#loop.now();
          while (now < due) {
            if (due - now > IDLE) idle?.();
            now = this.#loop.now();
          }
          if (now >= end || this.#asked.length === 0) return false;
          this.#poll(now);
        }
        note();
        // The next turn has time for it.
        if (this.#polls >= this.#most) this.#askForTurn();
        return true;
      },
    };
  }

  #askForTurn(): void {
    if (this.#turning) return;
    this.#turning = true;
    this.#loop.nextTurn(this.#turn);
  }

  readonly #turn = (): void => {
    this.#turning = false;
    if (this.#asked.length > 0) {
      const now = this.#loop.now();
      if (this.#polls >= FEW_POLLS && this.#expected() - now > this.#collection) this.#collect();
      if (now < this.#due()) return this.#askForTurn();
      this.#poll(now);
    }
    if (this.#polls >= this.#most) this.#collect();
  };

  #poll(now: number): void {
    this.#lastButOne = this.#last;
    this.#last = now;
    const asked = this.#asked;
    this.#asked = [];
    this.#taken += asked.length;
    this.#polls += asked.length;
    if (!this.#marked && asked.length > 0) {
      this.#marked = true;
      this.#loop.whenCollected(asked[0], this.#collected);
    }
    for (const poll of asked) poll();
  }

  readonly #collected = (): void => {
    this.#marked = false;
    this.#polls = 0;
  };

  #collect(): void {
    const began = this.#loop.now();
    this.#loop.collect();
    this.#collection = this.#loop.now() - began;
    // Where a collection takes long for its own sake, more polls at a time take least.
    const own = Math.max(0, this.#collection - PER_SQUARE * this.#polls ** 2);
    this.#most = Math.min(MOST_POLLS, Math.max(LEAST_POLLS, Math.sqrt(own / PER_SQUARE)));
    this.#polls = 0;
  }

  /** When work is expected to be done that somebody waits for. */
  #expected(): number {
    let first = Infinity;
    for (const { began, expected } of this.#waits) first = Math.min(first, began + expected);
    return this.#waits.size === 0 ? this.#last : first;
  }

  #due(): number {
    // Nobody waits for what Dawn does for itself, such as making a device.
    if (this.#waits.size === 0) return this.#last + LEAST_PAUSE;
    let due = Infinity;
    for (const wait of this.#waits) due = Math.min(due, this.#dueFor(wait));
    return due;
  }

  #dueFor({ began, expected }: Expectation): number {
    const last = Math.max(began, this.#last);
    const waited = last - began;
    const pause = Math.max(LEAST_PAUSE, waited * SHORT_PAUSE, Math.min(waited - expected, waited * LONG_PAUSE));
    const doubt = Math.max(LEAST_DOUBT, Math.min(expected * EXPECTED_DOUBT, MOST_DOUBT), waited * DOUBT);
    return Math.min(last + doubt, Math.max(began + expected, this.#last + pause));
  }
}
