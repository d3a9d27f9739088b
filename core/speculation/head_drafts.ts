/**
 * Drafts that a layer of the model makes: somebody asks it between steps, as far as that is likely to pay.
 *
 * @module
 */
import { Acceptance, BY_CONFIDENCE, type DraftClasses } from "./acceptance.ts";
import type { Draft, DraftSource, HeadDraftSink, HeadToken } from "./draft_source.ts";

/** Most tokens of such a draft: the layer has learned to guess one, and each further one goes on from the one before. */
export const MOST_HEAD_DRAFTED = 4;

/** A try costs a run of the layer, where a guess from what was said before costs nothing: of a text that it does not fit, it is not asked soon again. */
const ALL: DraftClasses = { upTo: [], expected: [60], keptUnused: 0.995 };

/** Of one sequence. */
export class HeadDrafts implements DraftSource, HeadDraftSink {
  /** Of drafts by the layer's own confidence, and of all of them, whatever it was. */
  readonly #byConfidence = new Acceptance(BY_CONFIDENCE);
  readonly #all = new Acceptance(ALL);
  #offered: readonly HeadToken[] = [];

  get head(): HeadDrafts {
    return this;
  }

  get expected(): number {
    return this.#all.of(0);
  }

  skip(): void {
    this.#all.note(0, 0, 0);
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
    if (drafted > 0) this.#all.note(0, drafted, accepted);
  }
}
