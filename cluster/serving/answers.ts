/**
 * What units are asked about sequences, and the tokens that requests take from what they answer.
 *
 * @module
 */
import { asLatentmeshError } from "../../core/errors.ts";
import type { LogitsAnswer } from "../../core/generation.ts";
import { INDEXED_PER_STEP } from "../../core/speculation/ngram_drafts.ts";
import type { Unit } from "../fleet/unit.ts";
import type { Units } from "../fleet/unit_host.ts";
import type { PlannedStep } from "../scheduler/plan.ts";
import type { Scheduler } from "../scheduler/scheduler.ts";
import type { Sequence } from "../scheduler/state.ts";
import type { Asking } from "../scheduler/step_planner.ts";
import { FollowedDraft } from "./followed_draft.ts";
import type { Requests } from "./requests.ts";
import type { Asked } from "./sent_tables.ts";
import { wholeRow } from "./unit_work.ts";

/** Asks for requests, and gives them their answers. */
export class Answers {
  readonly #units: Units;
  readonly #scheduler: Scheduler;
  readonly #requests: Requests;
  readonly #vocabulary: number;

  /** @param vocabulary number of token ids */
  constructor(units: Units, { scheduler, requests }: { readonly scheduler: Scheduler; readonly requests: Requests }, vocabulary: number) {
    this.#units = units;
    this.#scheduler = scheduler;
    this.#requests = requests;
    this.#vocabulary = vocabulary;
  }

  /** What is asked about the sequences of a step: of each one's last token, and of each that is drafted behind it. */
  asked({ asking }: PlannedStep): Asked[] {
    return asking.flatMap((one) => this.#askedOf(one));
  }

  #askedOf({ placement: by, drafted }: Asking): Asked[] {
    const { sequence } = by;
    const ahead = drafted.map((_, i): Asked => {
      const { query, changes } = this.#requests.queryBehind(sequence, drafted.slice(0, i + 1));
      return { query, by, ahead: changes };
    });
    return [{ query: this.#requests.queryOf(sequence), by }, ...ahead];
  }

  /** Gives every request of a step the tokens that its answers make, first of those whose answers suffice. */
  async takeStep(unit: Unit, { asking }: PlannedStep, sequences: readonly (Sequence | null)[], answers: readonly LogitsAnswer[]): Promise<void> {
    const insufficient: FollowedDraft[] = [];
    let first = 0;
    asking.forEach((one, i) => {
      const sequence = sequences[i];
      if (sequence !== null) {
        this.#requests.of(sequence)?.expect(one.drafted);
        const followed = new FollowedDraft(one, sequence, first);
        if (!this.#follow(followed, answers)) insufficient.push(followed);
      }
      first += one.drafted.length + 1;
    });
    for (const followed of insufficient) {
      let goesOn = true;
      while (goesOn) {
        await this.#takeFromRow(unit, followed.sequence, answers[followed.index], followed.index);
        goesOn = followed.goesOn(this.#scheduler.drafts) && !this.#follow(followed, answers);
      }
    }
    // Of those that a layer of the model drafts for, that is to come.
    this.foresee(sequences.filter((sequence) => sequence?.drafts?.head === undefined));
  }

  #follow(followed: FollowedDraft, answers: readonly LogitsAnswer[]): boolean {
    return followed.follow(answers, this.#scheduler.drafts, (answer) => this.#requests.take(followed.sequence, answer));
  }

  /** Gives every request that still wants it the token that its answer makes, first all of those whose answers suffice. */
  async take(unit: Unit, sequences: readonly (Sequence | null)[], answers: readonly LogitsAnswer[]): Promise<void> {
    const insufficient: number[] = [];
    sequences.forEach((sequence, i) => {
      if (sequence !== null && !this.#requests.take(sequence, answers[i])) insufficient.push(i);
    });
    for (const i of insufficient) await this.#takeFromRow(unit, sequences[i]!, answers[i], i);
    this.foresee(sequences);
  }

  /** Grammars are asked what may come behind drafts while clients are told. */
  foresee(sequences: readonly (Sequence | null)[]): void {
    const budget = { tokens: INDEXED_PER_STEP };
    for (const sequence of sequences) if (sequence !== null) this.#requests.foresee(sequence, budget);
  }

  async #takeFromRow(unit: Unit, sequence: Sequence, answer: LogitsAnswer, index: number): Promise<void> {
    const { epoch } = unit;
    let row: Float32Array;
    try {
      row = await wholeRow(unit, index, this.#vocabulary);
    } catch (error) {
      return this.#units.report(unit, asLatentmeshError(error), epoch);
    }
    this.#requests.takeFromRow(sequence, answer, row);
  }
}
