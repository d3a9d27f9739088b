/**
 * How likely tokens of a draft are those that come: learned from what became of earlier ones.
 *
 * @module
 */

/** Kinds of drafts that are learned of apart. */
export interface DraftClasses {
  /** Up to which value, ascending, drafts are of a class; those of larger ones are of one more. */
  readonly upTo: readonly number[];
  /** What is expected of each class before anything is known: a token in so many of a hundred is right. */
  readonly expected: readonly number[];
}

/** By tokens before the draft that occurred before it, too. */
export const BY_MATCH: DraftClasses = { upTo: [3, 4, 6, 9, 16], expected: [35, 45, 55, 70, 80, 90] };

/** By the probability that whoever drafted gives its first token. */
export const BY_CONFIDENCE: DraftClasses = { upTo: [0.2, 0.4, 0.6, 0.8, 0.95], expected: [25, 40, 55, 70, 85, 95] };

/** Tokens that the expectation counts for. */
const BELIEF = 3;

/** What earlier drafts count for after another one. */
const KEPT = 0.9;

/** What they count for after one that did not pay to be tried: what is thought little of gets another chance some day. */
const KEPT_UNUSED = 0.98;

/** Of one sequence. */
export class Acceptance {
  readonly #classes: DraftClasses;
  /** Tokens that were right, and that were not, by class. */
  readonly #right: number[];
  readonly #wrong: number[];

  constructor(classes: DraftClasses = BY_MATCH) {
    this.#classes = classes;
    this.#right = classes.expected.map(() => 0);
    this.#wrong = classes.expected.map(() => 0);
  }

  /** How likely each token of a draft is right where those before it are. @param value what its class is told by */
  of(value: number): number {
    const at = this.#classOf(value);
    return (this.#classes.expected[at] / 100 * BELIEF + this.#right[at]) / (BELIEF + this.#right[at] + this.#wrong[at]);
  }

  /** Of a draft, so many tokens were computed, and so many of those, from the first on, were right. */
  note(value: number, drafted: number, accepted: number): void {
    const at = this.#classOf(value);
    const kept = drafted === 0 ? KEPT_UNUSED : KEPT;
    this.#right[at] = this.#right[at] * kept + accepted;
    this.#wrong[at] = this.#wrong[at] * kept + (accepted < drafted ? 1 : 0);
  }

  #classOf(value: number): number {
    const at = this.#classes.upTo.findIndex((most) => value <= most);
    return at < 0 ? this.#classes.upTo.length : at;
  }
}
