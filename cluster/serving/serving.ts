/**
 * Drives the scheduler: sends pieces to prefill units and steps to decode groups, takes tokens from what they answer, and goes on elsewhere when they fail.
 * Prefill and decode proceed side by side; each unit does one thing at a time.
 *
 * @module
 */
import type { FinishReason, TokenEvent, TokenRequest } from "../../core/engine.ts";
import { prefixHashesInTurns } from "../../core/cache/prefix_hash.ts";
import { UNADJUSTED } from "../../core/sampling/adjustments.ts";
import { asLatentmeshError, cancellation, LatentmeshError } from "../../core/errors.ts";
import { type LogitsAnswer, type LogitsQuery, mostTokens } from "../../core/generation.ts";
import { newStepTimes, type StepTimes } from "../../core/step_times.ts";
import { type DecodeGroup, MixedUnit, type Placement, type PromptUnit, type Sequence } from "../scheduler/state.ts";
import type { Piece, SchedulerOptions, Step } from "../scheduler/plan.ts";
import { Scheduler } from "../scheduler/scheduler.ts";
import type { Unit, UnitListener } from "../fleet/unit.ts";
import type { Units } from "../fleet/unit_host.ts";
import { Pace } from "./pace.ts";
import { type Advance, type RequestOutcome, RunningRequest } from "./running_request.ts";
import { UnitStates } from "./unit_state.ts";
import { computePiece, handOver, openPlacement, type PieceAnswers, runStep, wholeRow } from "./unit_work.ts";

/** Options of {@link Serving}. */
export interface ServingOptions {
  readonly scheduler: SchedulerOptions;
  readonly vocabulary: number;
  readonly maxContext: number;
  /** Milliseconds that a decode rank may be silent. */
  readonly deadlineMs: number;
  /** Blocks of a decode group's cache, and of a prefill unit's. */
  readonly decodeBlocks: number;
  readonly prefillBlocks: number;
  /** Most milliseconds between two tokens of a stream while a mixed unit computes prompts beside it; undefined: three steps. */
  readonly maxStepMs?: number;
  /** Milliseconds that requests wait for units to be repaired. */
  readonly patienceMs?: number;
  /** Called when a request arrives, in its context; what it returns is told how the request has ended. */
  readonly onArrival?: () => (outcome: RequestOutcome) => void;
}

/** Milliseconds that requests wait for units to be repaired. */
const REPAIR_PATIENCE = 30_000;
/** Milliseconds that a step waits for grammars. */
const MASK_PATIENCE = 5;

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

interface Entry {
  readonly running: RunningRequest;
  readonly done: PromiseWithResolvers<void>;
  readonly onOutcome: ((outcome: RequestOutcome) => void) | undefined;
}

/** Serves requests on the units of a cluster. */
export class Serving implements UnitListener {
  readonly scheduler: Scheduler;
  readonly times: StepTimes = newStepTimes();
  readonly #units: Units;
  readonly #options: ServingOptions;
  readonly #entries = new Map<Sequence, Entry>();
  /** Of requests that are not among them yet. */
  readonly #arriving = new Set<Promise<unknown>>();
  readonly #unitOf = new Map<string, Unit>();
  readonly #busy = new Set<Unit>();
  readonly #states: UnitStates;
  /** Grammars that have not said what may come next. */
  readonly #masks = new Set<Promise<void>>();
  /** What clients are told next, in order. Telling takes about as long as everything else here, so it waits until the device has work again. */
  readonly #news: (() => void)[] = [];
  #telling = false;
  readonly #pace = new Pace();
  #kicked = false;
  #blocked: ReturnType<typeof setTimeout> | undefined;

  constructor(units: Units, options: ServingOptions) {
    this.#units = units;
    this.#options = options;
    this.scheduler = new Scheduler(options.scheduler);
    this.#states = new UnitStates({ most: options.scheduler.chunk, maxStepMs: options.maxStepMs });
  }

  /** Whether a request could be placed now, if there were room. */
  get ready(): boolean {
    const { prefillUnits, decodeGroups } = this.scheduler;
    const serves = (unit: PromptUnit, group: DecodeGroup) =>
      unit === group || (!(unit instanceof MixedUnit) && !(group instanceof MixedUnit) && this.#usable(unit, group));
    return [...decodeGroups.values()].some((group) => group.up && [...prefillUnits.values()].some((unit) => unit.up && serves(unit, group)));
  }

  /** Serves one request; resolves when it has ended. @throws {LatentmeshError} `overloaded`, `cancelled`, `capacity`, `worker_lost` */
  async serve(request: TokenRequest, emit: (event: TokenEvent) => void): Promise<void> {
    const { prompt, client = "", priority, promptLogprobs, signal } = request;
    const { maxContext, scheduler: { blockTokens } } = this.#options;
    const most = mostTokens(request, maxContext);
    const now = performance.now();
    const hashing = prefixHashesInTurns(prompt, blockTokens, client);
    const hashes = hashing instanceof Promise ? await this.#arrives(hashing) : hashing;
    const options = { prompt, mostTokens: most, client, priority, wholePrompt: promptLogprobs !== null, hashes, now };
    const sequence = this.scheduler.add(options, this.#pace.timeFor(this.scheduler.waiting.size));
    const entry: Entry = {
      running: new RunningRequest(request, sequence, (event) => this.#news.push(() => this.#report(sequence, emit, event))),
      done: Promise.withResolvers(),
      onOutcome: this.#options.onArrival?.(),
    };
    this.#entries.set(sequence, entry);
    const cancel = () => {
      this.#end(sequence, cancellation(signal));
      this.#tell();
    };
    signal.addEventListener("abort", cancel, { once: true });
    if (signal.aborted) cancel();
    this.#kick();
    try {
      await entry.done.promise;
    } finally {
      signal.removeEventListener("abort", cancel);
    }
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

  /** Ends every request. */
  failAll(error: LatentmeshError): void {
    for (const sequence of [...this.#entries.keys()]) this.#end(sequence, error);
    this.#tell();
  }

  /** Resolves when nothing is served any more. */
  async idle(): Promise<void> {
    while (this.#entries.size + this.#arriving.size > 0) {
      await Promise.allSettled([...this.#arriving, ...[...this.#entries.values()].map(({ done }) => done.promise)]);
    }
  }

  up(unit: Unit, fresh: boolean): void {
    const { decodeBlocks, prefillBlocks } = this.#options;
    this.#unitOf.set(unit.name, unit);
    const { role } = unit.plan;
    if (role === "decode") this.scheduler.decodeUp(unit.name, fresh ? decodeBlocks : null);
    else if (role === "mixed") this.scheduler.mixedUp(unit.name, fresh ? decodeBlocks : null);
    else this.scheduler.prefillUp(unit.name, fresh ? prefillBlocks : null);
    this.#kick();
  }

  down(unit: Unit): void {
    this.scheduler.down(unit.name);
    this.#kick();
  }

  linked(): void {
    this.#kick();
  }

  /** Starts whatever can start, once what happens now has happened: requests that come together are placed together. */
  #kick(): void {
    if (this.#kicked) return;
    this.#kicked = true;
    queueMicrotask(() => {
      this.#kicked = false;
      try {
        this.#start();
      } catch (error) {
        // Nobody in particular can be placed any more.
        this.failAll(asLatentmeshError(error));
      }
    });
  }

  #start(): void {
    for (const sequence of this.scheduler.hopeless()) {
      this.#end(sequence, new LatentmeshError("worker_lost", `Workers were lost ${sequence.attempts} times while they computed this request`));
    }
    this.#tell();
    for (const placement of this.scheduler.admit(performance.now(), (prefill, decode) => this.#usable(prefill, decode))) {
      if (placement.decode !== null && !placement.mixed) void this.#open(placement, placement.decode);
    }
    for (const unit of this.scheduler.prefillUnits.values()) {
      if (!(unit instanceof MixedUnit)) this.#pump(unit, () => this.#nextPiece(unit));
    }
    for (const group of this.scheduler.decodeGroups.values()) {
      this.#pump(group, () => group instanceof MixedUnit ? this.#nextWork(group) : this.#nextStep(group));
    }
    this.#watchBlocked();
  }

  /** Lets a unit work until there is nothing to do, unless it does already. */
  #pump(scheduled: PromptUnit | DecodeGroup, next: () => Promise<void> | null): void {
    const unit = this.#unitOf.get(scheduled.name)!;
    if (this.#busy.has(unit)) return;
    const work = this.#begin(scheduled, unit, next);
    if (work === null) return;
    this.#busy.add(unit);
    unit.busy = true;
    void this.#drive(scheduled, unit, work, next);
  }

  /** Begins what is next. Whatever goes wrong here that was not foreseen costs the unit its epoch, and nobody else anything. */
  #begin(scheduled: PromptUnit | DecodeGroup, unit: Unit, next: () => Promise<void> | null): Promise<void> | null {
    try {
      this.#close(scheduled);
      return next();
    } catch (error) {
      this.#units.report(unit, asLatentmeshError(error), unit.epoch);
      return null;
    }
  }

  /** Goes on until there is nothing to do. */
  async #drive(scheduled: PromptUnit | DecodeGroup, unit: Unit, first: Promise<void>, next: () => Promise<void> | null): Promise<void> {
    try {
      for (let work: Promise<void> | null = first; work !== null;) {
        await work;
        // Grammars take much less than a step: waiting for them is better than going on without their sequences.
        if (this.#masks.size > 0) await Promise.race([Promise.all(this.#masks), new Promise((resolve) => setTimeout(resolve, MASK_PATIENCE))]);
        work = this.#begin(scheduled, unit, next);
        this.#tell();
        this.#kick();
      }
    } catch (error) {
      this.#units.report(unit, asLatentmeshError(error), unit.epoch);
    } finally {
      this.#busy.delete(unit);
      this.#states.of(unit).stepEnd = null;
      unit.busy = false;
      // The unit may have come back, empty, while this was about the former one.
      this.#kick();
    }
  }

  #nextPiece(scheduled: PromptUnit): Promise<void> | null {
    const piece = this.scheduler.nextPiece(scheduled, performance.now());
    return piece === null ? null : this.#compute(piece);
  }

  #nextStep(group: DecodeGroup): Promise<void> | null {
    const step = this.scheduler.nextStep(group);
    return step === null ? null : this.#beginStep(step);
  }

  /** A piece or a step, whosever turn it is; while others generate, as much of a prompt as their streams can wait for. */
  #nextWork(mixed: MixedUnit): Promise<void> | null {
    const { pieces } = this.#states.of(this.#unitOf.get(mixed.name)!);
    const work = this.scheduler.nextWork(mixed, performance.now(), (start) => pieces.tokensAt(start));
    if (work === null) return null;
    return "piece" in work ? this.#compute(work.piece) : this.#beginStep(work.step);
  }

  #beginStep(step: Step): Promise<void> {
    const { group } = step;
    // Who gave way for this step must be closed before others take the blocks.
    this.#close(group);
    return this.#step(step);
  }

  async #open(placement: Placement, group: DecodeGroup): Promise<void> {
    const unit = this.#unitOf.get(group.name)!;
    const { epoch } = unit;
    this.#close(group);
    try {
      await openPlacement(unit, placement, this.#options.deadlineMs);
      this.scheduler.opened(placement);
    } catch (error) {
      this.#units.report(unit, asLatentmeshError(error), epoch);
    }
    this.#kick();
  }

  async #compute(piece: Piece): Promise<void> {
    const { placement, asking, begin, last } = piece;
    const { sequence, prefill, decode } = placement;
    const unit = this.#unitOf.get(prefill.name)!;
    const group = decode === null || placement.mixed ? null : this.#unitOf.get(decode.name)!;
    const { epoch } = unit;
    const { vocabulary, deadlineMs, scheduler: { stepRows } } = this.#options;
    const requests = asking.map((one) => this.#entries.get(one)!.running);
    const asked = asking.map((one) => ({ query: this.#queryOf(one), by: null }));
    const owner = this.#entries.get(sequence)?.running;
    const started = performance.now();
    owner?.pieceStarts(begin, started);
    let computed: PieceAnswers;
    try {
      computed = await computePiece(unit, piece, group === null ? null : { group, stepRows }, {
        asked,
        tables: this.#states.of(unit).tables,
        promptLogprobs: owner?.promptLogprobs ?? null,
        vocabulary,
        deadlineMs,
      });
    } catch (error) {
      this.scheduler.pieceFailed(piece);
      return this.#units.report(unit, asLatentmeshError(error), epoch);
    }
    const { answers, prompt } = computed;
    const now = performance.now();
    if (prefill instanceof MixedUnit) {
      const state = this.#states.of(unit);
      state.pieces.computed({ tokens: piece.count, start: piece.start }, now - started);
      // The step that follows did not follow at once.
      state.stepEnd = null;
    }
    // What lost this place is computed again elsewhere, from the beginning.
    if (placement.sequence.placement === placement) owner?.pieceDone(prompt, last, now);
    const outcome = this.scheduler.pieceDone(piece);
    // While latents are on their way, who waits for a first token gets it, and the unit can go on with others.
    if (last && group !== null) void this.#handOver(piece, unit, owner);
    outcome.asked.forEach((sequence, i) => sequence !== null && requests[i] !== owner && requests[i].pieceDone([], last, now));
    if (outcome.computed !== null) this.#finish(outcome.computed, "length");
    await this.#advance(unit, outcome.asked, answers);
  }

  async #handOver(piece: Piece, unit: Unit, owner: RunningRequest | undefined): Promise<void> {
    const { epoch } = unit;
    const { deadlineMs, scheduler: { chunk } } = this.#options;
    try {
      const failure = await handOver(unit, piece.placement, chunk, deadlineMs).then(() => null, asLatentmeshError);
      if (failure === null) {
        owner?.handed(performance.now());
        this.scheduler.handed(piece);
      } else {
        this.scheduler.pieceFailed(piece);
        this.#units.report(unit, failure, epoch);
      }
    } catch (error) {
      this.#units.report(unit, asLatentmeshError(error), epoch);
    }
    this.#kick();
  }

  async #step(step: Step): Promise<void> {
    const unit = this.#unitOf.get(step.group.name)!;
    const { epoch } = unit;
    const { deadlineMs, vocabulary } = this.#options;
    const asked = step.asking.map((by) => ({ query: this.#queryOf(by.sequence), by }));
    const state = this.#states.of(unit);
    const now = performance.now();
    this.times.betweenMs += now - (state.stepEnd ?? now);
    let answers: readonly LogitsAnswer[];
    try {
      answers = await runStep(unit, step, { asked, tables: state.tables, vocabulary, deadlineMs, times: this.times });
      const ended = performance.now();
      state.stepEnd = ended;
      state.pieces.stepped(ended - now);
    } catch (error) {
      this.scheduler.stepFailed(step);
      return this.#units.report(unit, asLatentmeshError(error), epoch);
    }
    await this.#advance(unit, this.scheduler.stepDone(step), answers);
  }

  /** What is asked about a sequence; of one whose request cannot say, next to nothing, and the request ends. */
  #queryOf(sequence: Sequence): LogitsQuery {
    try {
      return this.#entries.get(sequence)!.running.query();
    } catch (error) {
      this.#end(sequence, asLatentmeshError(error));
      return NOTHING_MUCH;
    }
  }

  /** Takes a token from each answer that somebody still wants, first from all of those that suffice. */
  async #advance(unit: Unit, sequences: readonly (Sequence | null)[], answers: readonly LogitsAnswer[]): Promise<void> {
    const insufficient: number[] = [];
    sequences.forEach((sequence, i) => {
      const running = sequence === null ? undefined : this.#entries.get(sequence)?.running;
      if (running === undefined) return;
      this.#own(running, () => {
        if (!this.#take(running, running.advance(answers[i], performance.now()))) insufficient.push(i);
      });
    });
    for (const i of insufficient) await this.#advanceFromRow(unit, sequences[i]!, answers[i], i);
  }

  async #advanceFromRow(unit: Unit, sequence: Sequence, answer: LogitsAnswer, index: number): Promise<void> {
    const { epoch } = unit;
    let row: Float32Array;
    try {
      row = await wholeRow(unit, index, this.#options.vocabulary);
    } catch (error) {
      return this.#units.report(unit, asLatentmeshError(error), epoch);
    }
    const running = this.#entries.get(sequence)?.running;
    if (running !== undefined) this.#own(running, () => this.#take(running, running.advanceFromRow(answer, row, performance.now())));
  }

  /** Does what concerns one request alone: if it throws, as its grammar may, that request ends and nobody else's token is lost. */
  #own({ sequence }: RunningRequest, work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#end(sequence, asLatentmeshError(error));
    }
  }

  #take({ sequence }: RunningRequest, advance: Advance | null): boolean {
    if (advance === null) return false;
    this.scheduler.append(sequence, advance.token);
    if (advance.reason !== null) this.#finish(sequence, advance.reason);
    else this.#waitForMask(sequence);
    return true;
  }

  /** A sequence whose grammar is not through with its last token sits the next step out. */
  #waitForMask(sequence: Sequence): void {
    const settled = this.#entries.get(sequence)?.running.request.constraint?.settled ?? null;
    if (settled === null) return;
    sequence.paused = true;
    const went = settled.then(() => {
      sequence.paused = false;
      this.#kick();
    }, (error) => {
      this.#end(sequence, asLatentmeshError(error));
      this.#tell();
    }).finally(() => this.#masks.delete(went));
    this.#masks.add(went);
  }

  /** Tells clients what has happened. */
  #tell(): void {
    // Who is told something may cancel, which is news again: it is told in its turn.
    if (this.#telling || this.#news.length === 0) return;
    const started = performance.now();
    this.#telling = true;
    for (const tell of this.#news) tell();
    this.#news.length = 0;
    this.#telling = false;
    this.times.tellMs += performance.now() - started;
  }

  /** A listener that throws loses its own request, and nobody else anything. */
  #report(sequence: Sequence, emit: (event: TokenEvent) => void, event: TokenEvent): void {
    try {
      emit(event);
    } catch (error) {
      this.#end(sequence, asLatentmeshError(error));
    }
  }

  #finish(sequence: Sequence, reason: FinishReason): void {
    this.#entries.get(sequence)?.running.finish(reason);
    this.#end(sequence, null, reason);
  }

  /** @param error why it ended early; null: by itself */
  #end(sequence: Sequence, error: LatentmeshError | null, reason: string = error?.code ?? "stop"): void {
    const entry = this.#entries.get(sequence);
    if (entry === undefined) return;
    this.#entries.delete(sequence);
    this.scheduler.end(sequence);
    const { running } = entry;
    running.times.ended = performance.now();
    if (running.times.firstToken !== null) this.#pace.ended(running.times.ended);
    entry.onOutcome?.({
      times: running.times,
      promptTokens: sequence.prompt.length,
      cachedTokens: sequence.cachedTokens,
      generatedTokens: sequence.generated.length,
      reason,
    });
    this.#news.push(() => error === null ? entry.done.resolve() : entry.done.reject(error));
    this.#kick();
  }

  /** Tells a unit's ranks which sequences have ended; before anything that may need their blocks. */
  #close(scheduled: PromptUnit | DecodeGroup): void {
    const sequences = scheduled.takeClosing();
    const unit = this.#unitOf.get(scheduled.name)!;
    if (sequences.length === 0 || !unit.formed) return;
    const { epoch } = unit;
    unit.ask("close", { epoch, sequences }, "done", { deadlineMs: this.#options.deadlineMs }).catch((error) => {
      this.#units.report(unit, asLatentmeshError(error), epoch);
    });
  }

  #usable(prefill: PromptUnit, decode: DecodeGroup): boolean {
    return this.#units.usable(this.#unitOf.get(prefill.name)!, this.#unitOf.get(decode.name)!);
  }

  /** Requests that nothing can serve wait for repairs, but not for ever. */
  #watchBlocked(): void {
    if (this.ready || this.#entries.size === 0) {
      clearTimeout(this.#blocked);
      this.#blocked = undefined;
      return;
    }
    this.#blocked ??= setTimeout(() => {
      this.#blocked = undefined;
      this.failAll(new LatentmeshError("capacity", "No decode group can serve: workers are gone and were not replaced in time"));
    }, this.#options.patienceMs ?? REPAIR_PATIENCE);
  }
}
