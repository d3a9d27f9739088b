/**
 * Drafts that a layer of the model makes: somebody asks it between steps, as far as that is likely to pay.
 *
 * @module
 */
import { Acceptance, BY_CONFIDENCE } from "./acceptance.ts";
import type { Draft, DraftSource, HeadDraftSink, HeadToken } from "./draft_source.ts";

/** Most tokens of such a draft: the layer has learned to guess one, and each further one goes on from the one before. */
export const MOST_HEAD_DRAFTED = 4;

/** How likely a token is thought to be right before anything is known of a model; and in tokens, how long that, or what is known of others, counts. */
const [FIRST_GUESS, BELIEF] = [0.6, 3];

/** What earlier tokens of a sequence count for after another one, and after none was tried: of a text that the layer does not fit, it is not asked soon again. */
const [KEPT, KEPT_UNUSED] = [0.97, 0.995];

/** How much one token says of a model, and how much of that is forgotten where none was tried. */
const [LEARNED, FORGOTTEN] = [0.02, 0.0005];

/** What became of the drafts of all sequences of a model: what those that begin are expected to be like. */
export class HeadRecord {
  #rate = FIRST_GUESS;

  /** How likely a token of a sequence is right of which nothing is known: texts differ. */
  get expected(): number {
    return (this.#rate + FIRST_GUESS) / 2;
  }

  /** So many tokens were tried, and so many of them were right. */
  note(tried: number, right: number): void {
    for (let i = 0; i < tried; i++) this.#rate += LEARNED * ((i < right ? 1 : 0) - this.#rate);
  }

  /** None was. */
  skip(): void {
    this.#rate += FORGOTTEN * (FIRST_GUESS - this.#rate);
  }
}

/** Of one sequence. */
export class HeadDrafts implements DraftSource, HeadDraftSink {
  readonly #byConfidence = new Acceptance(BY_CONFIDENCE);
  readonly #record: HeadRecord;
  readonly #prior: number;
  /** Tokens that were right, and that were not. */
  #right = 0;
  #wrong = 0;
  #offered: readonly HeadToken[] = [];

  /** @param record of its model; default: one of its own */
  constructor(record: HeadRecord = new HeadRecord()) {
    this.#record = record;
    this.#prior = record.expected;
  }

  get head(): HeadDrafts {
    return this;
  }

  get expected(): number {
    return (this.#prior * BELIEF + this.#right) / (BELIEF + this.#right + this.#wrong);
  }

  skip(): void {
    this.#forget(KEPT_UNUSED);
    this.#record.skip();
  }

  offer(tokens: readonly HeadToken[]): void {
    this.#offered = tokens;
  }

  push(): void {
    this.#offered = [];
  }

  propose(most: number): Draft | null {
    if (most < 1 || this.#offered.length === 0) return null;
    const [{ probability: value }] = this.#offered;
    return { tokens: this.#offered.slice(0, most).map(({ token }) => token), value, probability: this.#byConfidence.of(value) };
  }

  settle({ value }: Draft, drafted: number, accepted: number): void {
    this.#byConfidence.note(value, drafted, accepted);
    if (drafted === 0) return;
    const wrong = accepted < drafted ? 1 : 0;
    this.#forget(KEPT ** (accepted + wrong));
    this.#right += accepted;
    this.#wrong += wrong;
    this.#record.note(accepted + wrong, accepted);
  }

  #forget(kept: number): void {
    this.#right *= kept;
    this.#wrong *= kept;
  }
}
