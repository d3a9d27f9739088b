/**
 * How likely tokens of a draft are those that come: learned from what became of earlier ones.
 *
 * @module
 */

/** Matches up to so many tokens are alike; longer than the last ones, too. */
const CLASSES = [3, 4, 6, 9, 16];

/** What is expected of each class before anything is known: a token in so many of a hundred is right. */
const EXPECTED = [35, 45, 55, 70, 80, 90];

/** Tokens that the expectation counts for. */
const BELIEF = 3;

/** What earlier drafts count for after another one. */
const KEPT = 0.9;

/** What they count for after one that did not pay to be tried: what is thought little of gets another chance some day. */
const KEPT_UNUSED = 0.98;

/** Of one sequence. */
export class Acceptance {
  /** Tokens that were right, and that were not, by class. */
  readonly #right: number[] = EXPECTED.map(() => 0);
  readonly #wrong: number[] = EXPECTED.map(() => 0);

  /** How likely each token of a draft is right where those before it are. @param matched tokens before the draft that occurred before it, too */
  of(matched: number): number {
    const at = classOf(matched);
    return (EXPECTED[at] / 100 * BELIEF + this.#right[at]) / (BELIEF + this.#right[at] + this.#wrong[at]);
  }

  /** Of a draft, so many tokens were computed, and so many of those, from the first on, were right. */
  note(matched: number, drafted: number, accepted: number): void {
    const at = classOf(matched);
    const kept = drafted === 0 ? KEPT_UNUSED : KEPT;
    this.#right[at] = this.#right[at] * kept + accepted;
    this.#wrong[at] = this.#wrong[at] * kept + (accepted < drafted ? 1 : 0);
  }
}

function classOf(matched: number): number {
  const at = CLASSES.findIndex((most) => matched <= most);
  return at < 0 ? CLASSES.length : at;
}
