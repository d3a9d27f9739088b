/**
 * The requests that are being served: what each is and waits for, the tokens it takes from answers, and what its client is told.
 *
 * @module
 */
import type { FinishReason, TokenEvent, TokenRequest } from "../../core/engine.ts";
import { prefixHashesInTurns, prefixSalt } from "../../core/cache/prefix_hash.ts";
import { UNADJUSTED } from "../../core/sampling/adjustments.ts";
import { asLatentmeshError, cancellation, LatentmeshError } from "../../core/errors.ts";
import { type AheadQuery, knowsAhead, type LogitsAnswer, type LogitsQuery, mostTokens } from "../../core/generation.ts";
import { canForesee, ForeseenDrafts } from "../../core/speculation/foreseen_drafts.ts";
import { EitherDrafts } from "../../core/speculation/either_drafts.ts";
import type { HeadToken } from "../../core/speculation/draft_source.ts";
import { HeadDrafts, HeadRecord } from "../../core/speculation/head_drafts.ts";
import type { IndexBudget } from "../../core/speculation/ngram_index.ts";
import type { Speculation } from "../../core/speculation/speculation.ts";
import type { DraftSource } from "../../core/speculation/draft_source.ts";
import { Speculator } from "../../core/speculation/speculator.ts";
import type { StepTimes } from "../../core/step_times.ts";
import type { Scheduler } from "../scheduler/scheduler.ts";
import type { Sequence } from "../scheduler/state.ts";
import { CompletionRate } from "./completion_rate.ts";
import { type OutcomeListener, tellOutcome } from "./outcome_listeners.ts";
import { type Advance, RunningRequest } from "./running_request.ts";

/** Options of {@link Requests}. */
export interface RequestsOptions {
  readonly maxContext: number;
  readonly blockTokens: number;
  /** How tokens are guessed where a request does not say. */
  readonly speculate: Speculation;
  /** Whether the layer of the model that drafts is loaded. */
  readonly mtp: boolean;
  /** Prompts of more tokens are rotated otherwise, and have no beginning in common with those of fewer; 0: all are rotated alike. */
  readonly shortPositions: number;
  /** Called when a request arrives, in its context; what it returns is told how the request has ended. */
  readonly onArrival?: () => OutcomeListener;
  /** Told that something may be computed now that could not before. */
  readonly onChange: () => void;
}

/** Why no request can be guessed so. */
const NO_MTP = "This model's multi-token-prediction layer is not loaded: it has none, or is served with --speculate ngram or off";

/** Milliseconds that a step waits for grammars. */
const MASK_PATIENCE = 5;

/** The same for what may come behind drafts, which may do without. */
const FORESIGHT_PATIENCE = 1;

/** Asked in the place of a request that has ended before it could say what it wants. */
const NOTHING_MUCH: LogitsQuery = {
  key: 0,
  position: 0,
  inverseTemperature: 1,
  plain: 1,
  adjusted: 0,
  adjustments: UNADJUSTED,
  mask: null,
  draw: false,
};

/** Waits for promises, for so many milliseconds at most. */
async function settledWithin(promises: ReadonlySet<Promise<void>>, ms: number): Promise<void> {
  if (promises.size === 0) return;
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([Promise.all(promises), late]).finally(() => clearTimeout(timer));
}

/**
 * What guesses its tokens; null where nothing is to, or what its constraint allows behind them cannot be known.
 *
 * @param record of the layer of the model that drafts; null: none does
 */
function draftsOf(request: TokenRequest, speculate: Speculation, record: HeadRecord | null): DraftSource | null {
  if (speculate === "off" || !knowsAhead(request)) return null;
  const said = () => new Speculator(request.prompt, request.prediction);
  const head = record === null || speculate === "ngram" ? null : new HeadDrafts(record);
  const drafts = head === null ? said() : speculate === "mtp" ? head : new EitherDrafts(said(), head);
  const { constraint } = request;
  return canForesee(constraint) ? new ForeseenDrafts(drafts, constraint) : drafts;
}

interface Entry {
  readonly running: RunningRequest;
  readonly done: PromiseWithResolvers<void>;
  readonly onOutcome: OutcomeListener | undefined;
}

/** Requests, by the sequences that are computed for them. */
export class Requests {
  readonly #scheduler: Scheduler;
  readonly #times: StepTimes;
  readonly #options: RequestsOptions;
  readonly #entries = new Map<Sequence, Entry>();
  /** Of requests that are not among them yet. */
  readonly #arriving = new Set<Promise<unknown>>();
  /** Grammars that have not said what may come next. */
  readonly #masks = new Set<Promise<void>>();
  /** Those that have not said what may come behind drafts. */
  readonly #foresights = new Set<Promise<void>>();
  /** What clients are told next, in order. Telling takes about as long as everything else here, so it waits until the device has work again. */
  readonly #news: (() => void)[] = [];
  #telling = false;
  readonly #completionRate = new CompletionRate();
  /** What became of drafts of the model's layer; null where there is none. */
  readonly #heads: HeadRecord | null;

  /** @param times where what telling takes is counted */
  constructor(scheduler: Scheduler, times: StepTimes, options: RequestsOptions) {
    this.#scheduler = scheduler;
    this.#times = times;
    this.#options = options;
    this.#heads = options.mtp ? new HeadRecord() : null;
  }

  /** Requests that have not ended. */
  get size(): number {
    return this.#entries.size;
  }

  /** Serves one request; resolves when it has ended. @throws {LatentmeshError} `overloaded`, `cancelled`, `capacity`, `worker_lost` */
  async serve(request: TokenRequest, emit: (event: TokenEvent) => void): Promise<void> {
    const { prompt, client = "", priority, promptLogprobs, resumed = [], signal } = request;
    const { maxContext, blockTokens, onArrival, onChange, speculate, mtp, shortPositions } = this.#options;
    const most = mostTokens(request, maxContext);
    const now = performance.now();
    const hashing = prefixHashesInTurns(prompt, blockTokens, prefixSalt(client, prompt.length, shortPositions));
    const hashes = hashing instanceof Promise ? await this.#arrives(hashing) : hashing;
    const how = request.speculate ?? speculate;
    if (how === "mtp" && !mtp) throw new LatentmeshError("invalid_request", NO_MTP, { param: "speculate" });
    const drafts = most > 1 ? draftsOf(request, how, this.#heads) : null;
    const options = { prompt, mostTokens: most, client, priority, wholePrompt: promptLogprobs !== null, hashes, drafts, now };
    const sequence = this.#scheduler.add(options, this.#completionRate.timeFor(this.#scheduler.waiting.size));
    const entry: Entry = {
      running: new RunningRequest(request, sequence, (event) => this.#news.push(() => this.#report(sequence, emit, event))),
      done: Promise.withResolvers(),
      onOutcome: onArrival?.(),
    };
    this.#entries.set(sequence, entry);
    const cancel = () => {
      this.end(sequence, cancellation(signal));
      this.tell();
    };
    signal.addEventListener("abort", cancel, { once: true });
    try {
      for (const token of resumed) this.#scheduler.append(sequence, token);
      if (resumed.length > 0) this.#waitForMask(sequence);
      if (signal.aborted) cancel();
      onChange();
      await entry.done.promise;
    } catch (error) {
      // What went wrong before it was waited for has ended it as well.
      entry.done.promise.catch(() => {});
      this.end(sequence, asLatentmeshError(error));
      throw error;
    } finally {
      signal.removeEventListener("abort", cancel);
    }
  }

  /** Ends every request. */
  failAll(error: LatentmeshError): void {
    for (const sequence of [...this.#entries.keys()]) this.end(sequence, error);
    this.tell();
  }

  /** Resolves when nothing is served any more. */
  async idle(): Promise<void> {
    while (this.#entries.size + this.#arriving.size > 0) {
      await Promise.allSettled([...this.#arriving, ...[...this.#entries.values()].map(({ done }) => done.promise)]);
    }
  }

  /** The request that a sequence is computed for; undefined if it has ended. */
  of(sequence: Sequence): RunningRequest | undefined {
    return this.#entries.get(sequence)?.running;
  }

  /** What is asked about a sequence; of one that has ended, or whose request cannot say and so ends, next to nothing. */
  queryOf(sequence: Sequence): LogitsQuery {
    const running = this.of(sequence);
    if (running === undefined) return NOTHING_MUCH;
    try {
      return running.query();
    } catch (error) {
      this.end(sequence, asLatentmeshError(error));
      return NOTHING_MUCH;
    }
  }

  /** What is asked behind a sequence's last token and some that may follow; see {@link queryOf}. */
  queryBehind(sequence: Sequence, drafted: readonly number[]): AheadQuery {
    return this.of(sequence)?.queryBehind(drafted) ?? { query: NOTHING_MUCH, changes: [] };
  }

  /** What a sequence would go on with behind so many tokens, were these its logits; null where they do not tell, or nobody wants it. */
  guess(sequence: Sequence, answer: LogitsAnswer, behind: number): HeadToken | null {
    return this.of(sequence)?.guess(answer, behind) ?? null;
  }

  /** A sequence has got all tokens of a step: what its next draft needs is found out. @param budget of all sequences of the step */
  foresee(sequence: Sequence, budget: IndexBudget): void {
    const foreseen = sequence.ended ? null : sequence.drafts?.foresee?.(budget) ?? null;
    if (foreseen === null) return;
    const came = foreseen.finally(() => this.#foresights.delete(came));
    this.#foresights.add(came);
  }

  /** Takes a token from an answer. @returns whether it suffices, if anybody still wants it; {@link takeFromRow} then goes on */
  take(sequence: Sequence, answer: LogitsAnswer): boolean {
    return this.#own(sequence, (running) => this.#taken(sequence, running.advance(answer, performance.now())));
  }

  /** Takes a token from an answer that does not suffice, and the whole row. */
  takeFromRow(sequence: Sequence, answer: LogitsAnswer, row: Float32Array): void {
    this.#own(sequence, (running) => this.#taken(sequence, running.advanceFromRow(answer, row, performance.now())));
  }

  /** Grammars take much less than a step: waiting for them is better than going on without their sequences. */
  async waitForMasks(): Promise<void> {
    await settledWithin(this.#masks, MASK_PATIENCE);
    await settledWithin(this.#foresights, FORESIGHT_PATIENCE);
  }

  /** Tells clients what has happened. */
  tell(): void {
    // Who is told something may cancel, which is news again: it is told in its turn.
    if (this.#telling || this.#news.length === 0) return;
    const started = performance.now();
    this.#telling = true;
    for (const tell of this.#news) tell();
    this.#news.length = 0;
    this.#telling = false;
    this.#times.tellMs += performance.now() - started;
  }

  /** A request has got all that it wanted. */
  finish(sequence: Sequence, reason: FinishReason): void {
    this.#entries.get(sequence)?.running.finish(reason);
    this.end(sequence, null, reason);
  }

  /** Ends a request, unless it has ended. @param error why it ended early; null: by itself */
  end(sequence: Sequence, error: LatentmeshError | null, reason: string = error?.code ?? "stop"): void {
    const entry = this.#entries.get(sequence);
    if (entry === undefined) return;
    this.#entries.delete(sequence);
    this.#scheduler.end(sequence);
    const { running } = entry;
    running.times.ended = performance.now();
    if (running.times.firstToken !== null) this.#completionRate.ended(running.times.ended);
    const { onOutcome } = entry;
    if (onOutcome !== undefined) {
      const { prompt: { length: promptTokens }, cachedTokens, generated: { length: generatedTokens } } = sequence;
      tellOutcome(onOutcome, { times: running.times, promptTokens, cachedTokens, generatedTokens, reason });
    }
    this.#news.push(() => error === null ? entry.done.resolve() : entry.done.reject(error));
    this.#options.onChange();
  }

  /** Waits for what a request needs before it can wait for its turn. */
  async #arrives<T>(what: Promise<T>): Promise<T> {
    this.#arriving.add(what);
    try {
      return await what;
    } finally {
      this.#arriving.delete(what);
    }
  }

  /** Does what concerns one request alone: if it throws, as its grammar may, that request ends and nobody else's token is lost. */
  #own(sequence: Sequence, work: (running: RunningRequest) => boolean): boolean {
    const running = this.of(sequence);
    if (running === undefined) return true;
    try {
      return work(running);
    } catch (error) {
      this.end(sequence, asLatentmeshError(error));
      return true;
    }
  }

  #taken(sequence: Sequence, advance: Advance | null): boolean {
    if (advance === null) return false;
    this.#scheduler.append(sequence, advance.token);
    if (advance.reason !== null) this.finish(sequence, advance.reason);
    else this.#waitForMask(sequence);
    return true;
  }

  /** A sequence whose grammar is not through with its last token sits the next step out. */
  #waitForMask(sequence: Sequence): void {
    const settled = this.of(sequence)?.request.constraint?.settled ?? null;
    if (settled === null) return;
    sequence.paused = true;
    const went = settled.then(() => {
      sequence.paused = false;
      this.#options.onChange();
    }, (error) => {
      this.end(sequence, asLatentmeshError(error));
      this.tell();
    }).finally(() => this.#masks.delete(went));
    this.#masks.add(went);
  }

  /** A listener that throws loses its own request, and nobody else anything. */
  #report(sequence: Sequence, emit: (event: TokenEvent) => void, event: TokenEvent): void {
    try {
      emit(event);
    } catch (error) {
      this.end(sequence, asLatentmeshError(error));
    }
  }
}
