/**
 * One request between the scheduler and whoever reads its events: chooses its tokens and knows when it is done.
 *
 * @module
 */
import type { DraftTotals, FinishReason, TokenEvent, TokenRequest } from "../../core/engine.ts";
import { type AheadQuery, type ChosenToken, type LogitsAnswer, type LogitsQuery, promptEvent, TokenChooser } from "../../core/generation.ts";
import type { HeadToken } from "../../core/speculation/draft_source.ts";
import type { CandidateList } from "../../core/sampling/candidates.ts";
import type { Sequence } from "../scheduler/state.ts";

/** When a request got how far, in milliseconds on one clock; null: not yet. */
export interface RequestTimes {
  /** It came. */
  readonly arrived: number;
  /** The first chunk of its prompt was sent. */
  prefillStarted: number | null;
  /** The last chunk was computed. */
  prefilled: number | null;
  /** The last latents were handed over. */
  handed: number | null;
  /** Its first token was chosen. */
  firstToken: number | null;
  /** Its second token was chosen: the first decode step is done. */
  secondToken: number | null;
  /** Its last token so far was chosen. */
  lastToken: number | null;
  /** It ended. */
  ended: number | null;
}

/** What is known of a request when it has ended. */
export interface RequestOutcome {
  /** When it got how far. */
  readonly times: RequestTimes;
  /** Tokens of its prompt. */
  readonly promptTokens: number;
  /** Those of them that were cached. */
  readonly cachedTokens: number;
  /** Tokens of its answer. */
  readonly generatedTokens: number;
  /** Why: a reason of its own, or the code of the error that ended it. */
  readonly reason: FinishReason | string;
}

/** A token, and why the generation ends with it, if it does. */
export interface Advance {
  readonly token: number;
  readonly reason: FinishReason | null;
}

/** A request that is being served. */
export class RunningRequest {
  readonly request: TokenRequest;
  readonly sequence: Sequence;
  readonly times: RequestTimes;
  readonly #chooser: TokenChooser;
  readonly #emit: (event: TokenEvent) => void;
  /** What was computed behind its last token, if anything. */
  #drafted: readonly number[] = [];
  #drafts: DraftTotals | undefined;
  #prompt: CandidateList[] = [];
  #promptTold = false;

  constructor(request: TokenRequest, sequence: Sequence, emit: (event: TokenEvent) => void) {
    this.request = request;
    this.sequence = sequence;
    this.#chooser = new TokenChooser(request);
    this.#emit = emit;
    this.times = {
      arrived: sequence.arrived,
      prefillStarted: null,
      prefilled: null,
      handed: null,
      firstToken: null,
      secondToken: null,
      lastToken: null,
      ended: null,
    };
  }

  /** Candidates wanted at every prompt position; null: none. */
  get promptLogprobs(): number | null {
    const { promptLogprobs } = this.request;
    return promptLogprobs === null || this.#promptTold ? null : Math.max(1, promptLogprobs);
  }

  /** What must be known to choose the next token. */
  query(): LogitsQuery {
    return this.#chooser.query();
  }

  /** What must be known to choose the token behind some that may be chosen next. */
  queryBehind(drafted: readonly number[]): AheadQuery {
    return this.#chooser.queryBehind(drafted);
  }

  /** What would be chosen behind so many tokens that are not chosen yet, were these its logits; null where they do not tell. */
  guess(answer: LogitsAnswer, behind: number): HeadToken | null {
    return this.#chooser.guess(answer, behind);
  }

  /** Answers come about these tokens, too, if they are what is chosen. */
  expect(drafted: readonly number[]): void {
    this.#drafted = drafted;
  }

  /** A prefill chunk begins. @param first whether it is the first one since the sequence was placed */
  chunkStarts(first: boolean, now: number): void {
    if (first) this.#prompt = [];
    this.times.prefillStarted ??= now;
  }

  /** A prefill chunk is computed. */
  chunkDone(lists: readonly CandidateList[], last: boolean, now: number): void {
    this.#prompt.push(...lists);
    if (!last || this.#promptTold) return;
    this.times.prefillStarted ??= now;
    this.times.prefilled = now;
    this.#emit({ kind: "prefilled", cached: this.sequence.cachedTokens });
    if (this.promptLogprobs !== null) this.#emit(promptEvent(this.request, this.#prompt));
    for (const token of this.request.resumed ?? []) this.#emit({ kind: "token", token, logprob: null });
    this.#promptTold = true;
  }

  /** Every decode rank has its share of the prompt. */
  handed(now: number): void {
    this.times.handed ??= now;
  }

  /** Chooses the next token and reports it; null where the answer does not suffice, see {@link advanceFromRow}. */
  advance(answer: LogitsAnswer, now: number): Advance | null {
    const chosen = this.#chooser.choose(answer);
    return chosen === null ? null : this.#report(chosen, now);
  }

  /** Chooses the next token from all logits: [vocabulary]. */
  advanceFromRow(answer: LogitsAnswer, row: Float32Array, now: number): Advance {
    return this.#report(this.#chooser.chooseFromRow(answer, row), now);
  }

  /** Reports the end. */
  finish(reason: FinishReason): void {
    this.#emit({ kind: "finish", reason });
  }

  #report(chosen: ChosenToken, now: number): Advance {
    const { times, request, sequence } = this;
    times.lastToken = now;
    if (times.firstToken === null) times.firstToken = now;
    else times.secondToken ??= now;
    const { token } = chosen;
    const atEnd = sequence.generated.length + 1 >= sequence.mostTokens;
    const reason = request.stopTokens.has(token) ? "stop" : atEnd ? "length" : null;
    this.#countDrafts(token, reason !== null);
    this.#emit({ kind: "token", ...chosen, ...(this.#drafts === undefined ? {} : { drafts: this.#drafts }) });
    return { token, reason };
  }

  /** @param last whether nothing comes after this token */
  #countDrafts(token: number, last: boolean): void {
    const [expected, ...rest] = this.#drafted;
    if (expected === undefined) return;
    const { accepted, rejected } = this.#drafts ?? { accepted: 0, rejected: 0 };
    const right = token === expected;
    const over = last || !right;
    this.#drafts = { accepted: accepted + (right ? 1 : 0), rejected: rejected + (over ? rest.length : 0) + (right ? 0 : 1) };
    this.#drafted = over ? [] : rest;
  }
}
