/**
 * Guesses what a simulated sequence goes on with, right or wrong, and checks what it is told.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { Draft, DraftSource } from "../../../core/speculation/draft_source.ts";
import type { Random } from "../../../bench/support/random.ts";

/** Most tokens of a guess. */
const LONGEST = 5;

/** Of one sequence. */
export class SimulatedDrafts implements DraftSource {
  readonly #random: Random;
  #token: (index: number) => number = () => 0;
  #pushed = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** @param token of an index of the answer */
  follow(token: (index: number) => number): void {
    this.#token = token;
  }

  push(token: number): void {
    assertEquals(token, this.#token(this.#pushed++), "every token is told, in order");
  }

  propose(most: number): Draft | null {
    assert(most > 0, "there is room for a token at least");
    if (this.#random.below(4) === 0) return null;
    const right = this.#random.below(LONGEST + 2);
    const tokens = Array.from(
      { length: Math.min(most, 1 + this.#random.below(LONGEST)) },
      (_, i) => i < right ? this.#token(this.#pushed + i) : -1 - i,
    );
    return { tokens, value: 3, probability: 0.9 };
  }

  settle({ tokens }: Draft, drafted: number, accepted: number): void {
    assert(accepted <= drafted && drafted <= tokens.length);
    // What was accepted has been pushed, and what came instead of the next one, unless the sequence ended or lost its place.
    assertEquals(tokens.slice(0, accepted), tokens.slice(0, accepted).map((_, i) => tokens[0] + i), "the right ones are those of the sequence");
  }
}
