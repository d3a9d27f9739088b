/**
 * Asks a unit's layer that drafts, between its steps, what may come next.
 *
 * @module
 */
import { asLatentmeshError, type LatentmeshError } from "../../core/errors.ts";
import type { LogitsAnswer } from "../../core/generation.ts";
import { DraftLength } from "../../core/speculation/draft_length.ts";
import type { HeadDraftSink, HeadToken } from "../../core/speculation/draft_source.ts";
import { INDEXED_PER_STEP } from "../../core/speculation/ngram_drafts.ts";
import type { IndexBudget } from "../../core/speculation/ngram_index.ts";
import type { Unit } from "../fleet/unit.ts";
import type { Units } from "../fleet/unit_host.ts";
import type { PlannedStep } from "../scheduler/plan.ts";
import type { Scheduler } from "../scheduler/scheduler.ts";
import type { DecodeGroup, Placement } from "../scheduler/state.ts";
import { growForDraft, type Growth } from "../scheduler/step_planner.ts";
import type { Requests } from "./requests.ts";
import type { Asked, SentTables } from "./sent_tables.ts";
import { runDraft } from "./unit_work.ts";

/** Options of {@link Drafting}. */
export interface DraftingOptions {
  /** Number of token ids. */
  readonly vocabulary: number;
  /** Milliseconds that a rank may be silent. */
  readonly deadlineMs: number;
  /** Most rows of a step. */
  readonly stepRows: number;
  readonly blockTokens: number;
}

/** How likely another guess is that needs no draft beside it. */
const SURE = 0.75;

/** A sequence that is drafted for. */
interface Drafted {
  readonly placement: Placement;
  readonly drafts: HeadDraftSink;
  readonly tokens: HeadToken[];
  /** Most tokens that it can use. */
  readonly most: number;
}

/** Drafts for all units. */
export class Drafting {
  readonly #units: Units;
  readonly #scheduler: Scheduler;
  readonly #requests: Requests;
  readonly #options: DraftingOptions;

  constructor(units: Units, { scheduler, requests }: { readonly scheduler: Scheduler; readonly requests: Requests }, options: DraftingOptions) {
    this.#units = units;
    this.#scheduler = scheduler;
    this.#requests = requests;
    this.#options = options;
  }

  /** Whether any sequence of a step wants drafts of the kind. */
  wanted({ asking }: PlannedStep): boolean {
    return asking.some(({ placement: { sequence } }) => !sequence.ended && sequence.drafts?.head !== undefined);
  }

  /** Drafts what may follow a step, which has been taken. A unit that fails is reported. */
  async draft(unit: Unit, { group, asking }: PlannedStep, tables: SentTables): Promise<void> {
    const { stepRows } = this.#options;
    const budget = { tokens: INDEXED_PER_STEP };
    const all = asking.flatMap(({ placement }) => this.#drafted(placement, budget));
    if (all.length === 0) return;
    const length = new DraftLength({ steps: group.costs, drafts: group.draftCosts });
    const count = length.choose(all.map(({ drafts }) => drafts.expected), stepRows - (group.running.size - all.length));
    if (count === 0) {
      for (const { drafts } of all) drafts.skip();
      return;
    }
    const { epoch } = unit;
    const done = this.#scheduler.drafts.hold(all.map(({ placement }) => placement));
    let failure: LatentmeshError | null = null;
    try {
      for (let behind = 0; behind < count; behind++) {
        const going = all.filter(({ tokens, most }) => tokens.length === behind && behind < most);
        if (!await this.#draftOne(unit, group, { going, behind, tables })) break;
      }
    } catch (error) {
      failure = asLatentmeshError(error);
    }
    // Before a unit is lost, nothing of it is in use any more.
    done();
    if (failure !== null) return this.#units.report(unit, failure, epoch);
    for (const { drafts, tokens } of all) drafts.offer(tokens);
  }

  /** Of a placement that has all of its sequence but the last token; nothing of others. */
  #drafted(placement: Placement, budget: IndexBudget): Drafted[] {
    const { sequence } = placement;
    const drafts = sequence.drafts?.head;
    if (drafts === undefined || !placement.alive || placement.released || sequence.paused || placement.pending.length !== 1) return [];
    const left = sequence.mostTokens - sequence.generated.length - 1;
    // Of what is said again, there is a guess already.
    if ((sequence.drafts!.propose(1, budget)?.probability ?? 0) >= SURE) return [];
    // What a grammar allows behind its drafts is found out when they are there.
    const foresees = this.#requests.of(sequence)?.request.constraint?.foresight !== undefined;
    return left < 1 ? [] : [{ placement, drafts, tokens: [], most: foresees ? 1 : left }];
  }

  /** One more token for each. @returns whether there was any */
  async #draftOne(
    unit: Unit,
    group: DecodeGroup,
    { going, behind, tables }: { readonly going: readonly Drafted[]; readonly behind: number; readonly tables: SentTables },
  ): Promise<boolean> {
    const { vocabulary, deadlineMs, blockTokens } = this.#options;
    const grow: Growth[] = [];
    const able = going.filter(({ placement }) => {
      const growth = growForDraft(group, placement, behind + 1, blockTokens);
      grow.push(...growth ?? []);
      return growth !== null;
    });
    if (able.length === 0) return false;
    const rows = able.map(({ placement, tokens }) => ({
      sequence: placement.id,
      token: behind === 0 ? placement.pending[0] : tokens[behind - 1].token,
      position: placement.length + behind,
    }));
    const asked = able.map((one) => this.#asked(one));
    const started = performance.now();
    const computed = runDraft(unit, { rows, grow, ahead: behind > 0 }, { asked, tables, vocabulary, deadlineMs });
    this.#requests.tell();
    const answers: readonly LogitsAnswer[] = await computed;
    group.draftCosts.note(rows.length, performance.now() - started);
    able.forEach(({ placement: { sequence }, tokens }, i) => {
      const guess = this.#requests.guess(sequence, answers[i], behind);
      if (guess !== null) tokens.push(guess);
    });
    return true;
  }

  #asked({ placement, tokens }: Drafted): Asked {
    const { sequence } = placement;
    if (tokens.length === 0) return { query: this.#requests.queryOf(sequence), by: placement };
    const { query, changes } = this.#requests.queryBehind(sequence, tokens.map(({ token }) => token));
    return { query, by: placement, ahead: changes };
  }
}
