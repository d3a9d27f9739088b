/**
 * Feeds units: sends chunks to those that compute prompts and steps to those that generate, one thing at a time each, and gives requests the answers.
 *
 * @module
 */
import { asLatentmeshError } from "../../core/errors.ts";
import type { LogitsAnswer } from "../../core/generation.ts";
import type { StepTimes } from "../../core/step_times.ts";
import type { Units } from "../fleet/unit_host.ts";
import type { Unit } from "../fleet/unit.ts";
import type { PlannedStep } from "../scheduler/plan.ts";
import type { Scheduler } from "../scheduler/scheduler.ts";
import { type DecodeGroup, MixedUnit, type Placement, type PrefillChunk, type PromptUnit } from "../scheduler/state.ts";
import { Answers } from "./answers.ts";
import { Drafting } from "./drafting.ts";
import type { Requests } from "./requests.ts";
import type { RunningRequest } from "./running_request.ts";
import { type UnitState, UnitStates } from "./unit_state.ts";
import { awaitHandoff, type ChunkAnswers, type ChunkPart, computeChunk, openPlacement, patienceFor, runStep } from "./unit_work.ts";

/** Options of {@link UnitPump}. */
export interface UnitPumpOptions {
  readonly vocabulary: number;
  /** Milliseconds that a decode rank may be silent. */
  readonly deadlineMs: number;
  /** Most rows of a step, and tokens of a prefill chunk. */
  readonly stepRows: number;
  readonly chunkTokens: number;
  /** Of the model. */
  readonly layers: number;
  readonly maxStepMs?: number;
  /** Told that something may be computed now that could not before. */
  readonly onChange: () => void;
}

/** What is next of a unit; null: nothing. */
type Next = () => Promise<void> | null;

/** Lets every unit work while there is something to do. */
export class UnitPump {
  readonly #units: Units;
  readonly #scheduler: Scheduler;
  readonly #requests: Requests;
  readonly #times: StepTimes;
  readonly #options: UnitPumpOptions;
  readonly #unitOf = new Map<string, Unit>();
  readonly #busy = new Set<Unit>();
  readonly #states: UnitStates;
  readonly #answers: Answers;
  readonly #drafting: Drafting;

  constructor(
    units: Units,
    { scheduler, requests, times }: { readonly scheduler: Scheduler; readonly requests: Requests; readonly times: StepTimes },
    options: UnitPumpOptions,
  ) {
    this.#units = units;
    this.#scheduler = scheduler;
    this.#requests = requests;
    this.#times = times;
    this.#options = options;
    this.#answers = new Answers(units, { scheduler, requests }, options.vocabulary);
    this.#drafting = new Drafting(units, { scheduler, requests }, { ...options, blockTokens: scheduler.options.decodeBlockTokens });
    this.#states = new UnitStates({ most: options.chunkTokens, layers: options.layers, maxStepMs: options.maxStepMs });
  }

  /** Whom the scheduler means by a name from now on. */
  know(unit: Unit): void {
    this.#unitOf.set(unit.name, unit);
  }

  /** Whether prompts of a unit can be handed to a group now. */
  usable(prefill: PromptUnit, decode: DecodeGroup): boolean {
    return this.#units.usable(this.#unitOf.get(prefill.name)!, this.#unitOf.get(decode.name)!);
  }

  /** Makes room for a prompt in the group that will decode it. */
  async open(placement: Placement, group: DecodeGroup): Promise<void> {
    const unit = this.#unitOf.get(group.name)!;
    const { epoch } = unit;
    this.#close(group);
    try {
      await openPlacement(unit, placement, this.#options.deadlineMs);
      this.#scheduler.opened(placement);
    } catch (error) {
      this.#units.report(unit, asLatentmeshError(error), epoch);
    }
    this.#options.onChange();
  }

  /** Lets all units work until there is nothing to do, unless they do already. */
  start(): void {
    for (const unit of this.#scheduler.prefillUnits.values()) {
      if (!(unit instanceof MixedUnit)) this.#pump(unit, () => this.#nextChunk(unit));
    }
    for (const group of this.#scheduler.decodeGroups.values()) {
      this.#pump(group, () => group instanceof MixedUnit ? this.#nextWork(group) : this.#nextStep(group));
    }
  }

  #pump(scheduled: PromptUnit | DecodeGroup, next: Next): void {
    const unit = this.#unitOf.get(scheduled.name)!;
    if (this.#busy.has(unit)) return;
    const work = this.#begin(scheduled, unit, next);
    if (work === null) return;
    this.#busy.add(unit);
    unit.busy = true;
    void this.#drive(scheduled, unit, work, next);
  }

  /** Begins what is next. Whatever goes wrong here that was not foreseen costs the unit its epoch, and nobody else anything. */
  #begin(scheduled: PromptUnit | DecodeGroup, unit: Unit, next: Next): Promise<void> | null {
    try {
      this.#close(scheduled);
      return next();
    } catch (error) {
      this.#units.report(unit, asLatentmeshError(error), unit.epoch);
      return null;
    }
  }

  /** Goes on until there is nothing to do. */
  async #drive(scheduled: PromptUnit | DecodeGroup, unit: Unit, first: Promise<void>, next: Next): Promise<void> {
    try {
      for (let work: Promise<void> | null = first; work !== null;) {
        await work;
        await this.#requests.waitForMasks();
        work = this.#begin(scheduled, unit, next);
        this.#requests.tell();
        this.#options.onChange();
      }
    } catch (error) {
      this.#units.report(unit, asLatentmeshError(error), unit.epoch);
    } finally {
      this.#busy.delete(unit);
      this.#states.of(unit).stepEnd = null;
      unit.busy = false;
      // The unit may have come back, empty, while this was about the former one.
      this.#options.onChange();
    }
  }

  #nextChunk(scheduled: PromptUnit): Promise<void> | null {
    const chunk = this.#scheduler.nextChunk(scheduled, performance.now());
    return chunk === null ? null : this.#compute(chunk);
  }

  #nextStep(group: DecodeGroup): Promise<void> | null {
    const step = this.#scheduler.nextStep(group);
    return step === null ? null : this.#beginStep(step);
  }

  /** A chunk or a step, whosever turn it is; while others generate, as much of a prompt as their streams can wait for. */
  #nextWork(mixed: MixedUnit): Promise<void> | null {
    const { chunks } = this.#states.of(this.#unitOf.get(mixed.name)!);
    const work = this.#scheduler.nextWork(mixed, performance.now(), (start) => chunks.tokensAt(start));
    if (work === null) return null;
    return "chunk" in work ? this.#compute(work.chunk) : this.#beginStep(work.step);
  }

  #beginStep(step: PlannedStep): Promise<void> {
    const { group } = step;
    // Who was preempted for this step must be closed before others take the blocks.
    this.#close(group);
    return this.#step(step);
  }

  async #compute(chunk: PrefillChunk): Promise<void> {
    const { placement, asking, begin, last } = chunk;
    const { sequence, prefill, decode } = placement;
    const unit = this.#unitOf.get(prefill.name)!;
    const group = decode === null || placement.mixed ? null : this.#unitOf.get(decode.name)!;
    const { epoch } = unit;
    const { vocabulary, deadlineMs, stepRows } = this.#options;
    const state = this.#states.of(unit);
    const others = prefill instanceof MixedUnit && prefill.running.size > 0;
    const layers = state.chunks.next(chunk, others);
    const pauses = !state.chunks.ends(layers);
    // Who generates is given a step behind it, which is recorded meanwhile. Those may all wait for something else: then no more is begun than can be waited for.
    const awaited = !others || (last && !pauses) || state.chunks.tokensUnderWay > 0;
    const owner = this.#requests.of(sequence);
    const started = performance.now();
    if (layers.first === 0) owner?.chunkStarts(begin, started);
    const asks = pauses ? [] : asking;
    const requests = asks.map((one) => this.#requests.of(one));
    let computed: ChunkAnswers;
    try {
      const target = group === null ? null : { group, stepRows };
      computed = await computeChunk(unit, { chunk, layers, target, awaited }, {
        asked: asks.map((one) => ({ query: this.#requests.queryOf(one), by: null })),
        tables: state.tables,
        promptLogprobs: pauses ? null : owner?.promptLogprobs ?? null,
        vocabulary,
        deadlineMs: patienceFor(unit, state.chunks.tokensUnderWay, deadlineMs),
      });
    } catch (error) {
      state.chunks.lost();
      this.#scheduler.chunkFailed(chunk);
      return this.#units.report(unit, asLatentmeshError(error), epoch);
    }
    const { answers, prompt } = computed;
    const now = performance.now();
    // The step that follows did not follow at once.
    state.stepEnd = null;
    state.chunks.begun(chunk, layers, started);
    if (awaited) state.chunks.done(now);
    if (pauses) return this.#scheduler.chunkPaused(chunk);
    // What lost this place is computed again elsewhere, from the beginning.
    if (placement.sequence.placement === placement) owner?.chunkDone(prompt, last, now);
    const outcome = this.#scheduler.chunkDone(chunk);
    // While latents are on their way, who waits for a first token gets it, and the unit can go on with others.
    if (last && group !== null) void this.#handOver(chunk, unit, owner);
    outcome.asked.forEach((sequence, i) => sequence !== null && requests[i] !== owner && requests[i]?.chunkDone([], last, now));
    if (outcome.computed !== null) this.#requests.finish(outcome.computed, "length");
    await this.#answers.take(unit, outcome.asked, answers);
  }

  async #handOver(chunk: PrefillChunk, unit: Unit, owner: RunningRequest | undefined): Promise<void> {
    const { epoch } = unit;
    const { deadlineMs, chunkTokens } = this.#options;
    try {
      const failure = await awaitHandoff(unit, chunk.placement, chunkTokens, deadlineMs).then(() => null, asLatentmeshError);
      if (failure === null) {
        owner?.handed(performance.now());
        this.#scheduler.handed(chunk);
      } else {
        this.#scheduler.chunkFailed(chunk);
        this.#units.report(unit, failure, epoch);
      }
    } catch (error) {
      this.#units.report(unit, asLatentmeshError(error), epoch);
    }
    this.#options.onChange();
  }

  async #step(step: PlannedStep): Promise<void> {
    const unit = this.#unitOf.get(step.group.name)!;
    const { epoch } = unit;
    const { deadlineMs, vocabulary } = this.#options;
    const asked = this.#answers.asked(step);
    const state = this.#states.of(unit);
    const behind = this.#layersBehind(step, unit, state);
    const now = performance.now();
    this.#times.betweenMs += now - (state.stepEnd ?? now);
    let answers: readonly LogitsAnswer[];
    try {
      const waitsMs = patienceFor(unit, state.chunks.tokensUnderWay, deadlineMs);
      answers = await runStep(unit, step, behind, { asked, tables: state.tables, vocabulary, deadlineMs: waitsMs, times: this.#times });
      const ended = performance.now();
      // What comes before a step counts as well, and layers that were begun before it or are behind it are no part of it.
      if (behind === null && state.chunks.tokensUnderWay === 0) step.group.costs.note(step.rows.length, ended - (state.stepEnd ?? now));
      state.stepEnd = behind === null ? ended : null;
      state.chunks.stepped(now, ended);
      if (behind !== null) state.chunks.begun(behind.chunk, behind.layers, ended);
    } catch (error) {
      state.chunks.lost();
      this.#scheduler.stepFailed(step);
      if (behind !== null) this.#scheduler.chunkFailed(behind.chunk);
      return this.#units.report(unit, asLatentmeshError(error), epoch);
    }
    const asking = this.#scheduler.stepDone(step);
    if (behind !== null) this.#begunBehind(behind, state);
    await this.#answers.takeStep(unit, step, asking, answers);
    if (this.#drafting.wanted(step)) await this.#draft(unit, step, state);
  }

  async #draft(unit: Unit, step: PlannedStep, state: UnitState): Promise<void> {
    await this.#requests.waitForMasks();
    const began = performance.now();
    await this.#drafting.draft(unit, step, state.tables);
    // What it took is known by itself; all else between steps is part of the next.
    if (state.stepEnd !== null) state.stepEnd += performance.now() - began;
    this.#answers.foresee(step.asking.map(({ placement: { sequence } }) => sequence).filter(({ drafts }) => drafts?.head !== undefined));
  }

  /** The next layers of a chunk that is paused, which are begun with while a step is computed, so that the device is not idle between the two; null: none are. */
  #layersBehind(step: PlannedStep, unit: Unit, state: UnitState): ChunkPart | null {
    const [member, other] = unit.members;
    // Ranks that share a chunk wait for each other's sums. A step would wait for the layers where a processor computes when it is asked, and in Deno, where reading
    // waits for all that was submitted; and where nothing is asked, so that what is waited for is that the device has settled.
    if (other !== undefined || member?.hello.device.kind !== "dawn" || step.asking.length === 0) return null;
    // About the last positions of a prompt something is asked, or about all of them, or somebody waits for it.
    const begun = (chunk: PrefillChunk): ChunkPart => ({ chunk, layers: state.chunks.next(chunk, true), target: null, awaited: false });
    const chunk = this.#scheduler.chunkBehind(
      step,
      (chunk) => !(chunk.last || chunk.placement.sequence.wholePrompt) || !state.chunks.ends(begun(chunk).layers),
    );
    return chunk === null ? null : begun(chunk);
  }

  #begunBehind({ chunk, layers }: ChunkPart, state: UnitState): void {
    if (state.chunks.ends(layers)) this.#scheduler.chunkDone(chunk);
    else this.#scheduler.chunkPaused(chunk);
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
}
