/**
 * Drives a scheduler with random arrivals, cancellations and failures, as the cluster would, and checks after every event that nothing is lost or mixed up.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { PlannedStep, SchedulerOptions } from "../../../cluster/scheduler/plan.ts";
import { MixedUnit, type Placement, type PrefillChunk, type Sequence } from "../../../cluster/scheduler/state.ts";
import { Scheduler } from "../../../cluster/scheduler/scheduler.ts";
import type { Random } from "../../../bench/support/random.ts";
import { FollowedDraft } from "../../../cluster/serving/followed_draft.ts";
import { SimulatedDrafts } from "./simulated_drafts.ts";
import { SimulatedUnit } from "./simulated_unit.ts";

/** What a simulation is made of. */
export interface SimulationOptions extends SchedulerOptions {
  readonly prefillUnits: number;
  readonly decodeGroups: number;
  readonly mixedUnits?: number;
  readonly prefillBlocks: number;
  readonly decodeBlocks: number;
  /** Of a cache that mixed units have for prompts alone; null: they compute them where they generate from. */
  readonly promptBlocks?: number | null;
  /** Whether half of the sequences have guesses verified. */
  readonly drafts?: boolean;
}

/** A whole cluster, simulated. */
export class Simulation {
  readonly scheduler: Scheduler;
  readonly options: SimulationOptions;
  readonly random: Random;
  now = 0;
  readonly prefill = new Map<string, SimulatedUnit>();
  readonly decode = new Map<string, SimulatedUnit>();
  readonly sequences: Sequence[] = [];
  readonly finished: Sequence[] = [];
  /** When each one last got further. */
  readonly progress = new Map<Sequence, number>();
  #chunks: { chunk: PrefillChunk; unit: SimulatedUnit; failed: boolean; asked: readonly number[] }[] = [];
  /** Prompts whose last chunk is computed and whose latents are on their way. */
  #handoffs: { chunk: PrefillChunk; unit: SimulatedUnit; failed: boolean }[] = [];
  /** Those of which layers are left. */
  readonly #paused = new Set<PrefillChunk>();
  #steps: { step: PlannedStep; unit: SimulatedUnit; failed: boolean; asked: readonly number[]; behind: PrefillChunk | null }[] = [];

  constructor(options: SimulationOptions, random: Random) {
    this.options = options;
    this.random = random;
    this.scheduler = new Scheduler(options);
    for (let i = 0; i < options.prefillUnits; i++) this.up(`prefill-${i}`, false);
    for (let i = 0; i < options.decodeGroups; i++) this.up(`decode-${i}`, false);
    for (let i = 0; i < (options.mixedUnits ?? 0); i++) this.up(`mixed-${i}`, false);
  }

  below(count: number): number {
    return this.random.below(count);
  }

  /** What a sequence's token number `index` is; the last one ends it. */
  static token(sequence: Sequence, index: number): number {
    return 100_000 + sequence.order * 1000 + index;
  }

  arrive(prompt: readonly number[], mostTokens: number, client: string, priority = 0): Sequence {
    const wholePrompt = this.below(8) === 0;
    const drafts = this.options.drafts === true && this.below(2) === 0 ? new SimulatedDrafts(this.random) : null;
    const sequence = this.scheduler.add({ prompt, mostTokens, client, priority, wholePrompt, drafts, now: this.now });
    drafts?.follow((index) => Simulation.token(sequence, index));
    this.sequences.push(sequence);
    this.progress.set(sequence, this.now);
    return sequence;
  }

  cancel(sequence: Sequence): void {
    this.scheduler.end(sequence);
  }

  down(name: string): void {
    this.scheduler.down(name);
    // A prefill unit finishes what it is at also when the group it is for is lost and its latents go nowhere.
    for (const flight of [...this.#chunks, ...this.#handoffs]) flight.failed ||= flight.chunk.placement.prefill.name === name;
    for (const flight of this.#steps) flight.failed ||= flight.step.group.name === name;
  }

  up(name: string, keep: boolean): void {
    if (name.startsWith("mixed")) return this.#mixedUp(name, keep);
    const isPrefill = name.startsWith("prefill");
    const units = isPrefill ? this.prefill : this.decode;
    const { prefillBlocks, decodeBlocks, blockTokens, decodeBlockTokens } = this.options;
    const [blocks, tokens] = isPrefill ? [prefillBlocks, blockTokens] : [decodeBlocks, decodeBlockTokens];
    if (keep) units.get(name)!.reset();
    else units.set(name, new SimulatedUnit(blocks, tokens));
    if (isPrefill) this.scheduler.prefillUp(name, keep ? null : blocks);
    else this.scheduler.decodeUp(name, keep ? null : blocks);
  }

  /** It is one unit, whichever role it plays, but may have a cache for each. */
  #mixedUp(name: string, keep: boolean): void {
    const { decodeBlocks, promptBlocks = null, blockTokens, decodeBlockTokens } = this.options;
    const unit = keep ? this.decode.get(name)! : new SimulatedUnit(decodeBlocks, decodeBlockTokens);
    const prompts = promptBlocks === null ? unit : keep ? this.prefill.get(name)! : new SimulatedUnit(promptBlocks, blockTokens);
    if (keep) { for (const each of new Set([unit, prompts])) each.reset(); }
    this.prefill.set(name, prompts);
    this.decode.set(name, unit);
    this.scheduler.mixedUp(name, keep ? null : decodeBlocks, promptBlocks);
  }

  /** Starts everything that can start now. */
  start(): void {
    this.#close();
    for (const placement of this.scheduler.admit(this.now, () => true)) {
      if (placement.decode === null || placement.mixed) continue;
      this.#close();
      this.decode.get(placement.decode.name)!.open(placement.id, placement.decodeBlocks, placement.from);
      this.scheduler.opened(placement);
    }
    for (const unit of this.scheduler.prefillUnits.values()) {
      if (unit instanceof MixedUnit) {
        this.#startMixed(unit);
        continue;
      }
      if (this.#chunks.some(({ chunk }) => chunk.placement.prefill === unit)) continue;
      const chunk = this.scheduler.nextChunk(unit, this.now);
      this.#close();
      if (chunk !== null) this.#startChunk(chunk);
    }
    for (const group of this.scheduler.decodeGroups.values()) {
      if (group instanceof MixedUnit) continue;
      const step = this.scheduler.nextStep(group);
      this.#close();
      if (step !== null) this.#startStep(step);
    }
    this.check();
  }

  /** One thing at a time, in turns. */
  #startMixed(unit: MixedUnit): void {
    const before = unit.prefilled;
    const busy = unit.stepping;
    const most = 1 + this.below(this.options.chunkTokens);
    const work = this.scheduler.nextWork(unit, this.now, () => most);
    this.#close();
    if (work === null) return;
    assert(!busy, "a mixed unit does one thing at a time");
    if ("step" in work) return this.#startStep(work.step);
    assert(!before || [...unit.running].every(({ alive, pending }) => !alive || pending.length === 0), "who generates waits for one chunk at most");
    if (this.#paused.delete(work.chunk)) return this.#startChunk(work.chunk, true);
    assert([...this.#paused].every((chunk) => !unit.prompts.has(chunk.placement)), "a chunk that is paused goes on before another is begun");
    assert(work.chunk.count <= (unit.running.size > 0 ? most : this.options.chunkTokens), "and not for a long one");
    this.#startChunk(work.chunk);
  }

  #startChunk(chunk: PrefillChunk, resumes = false): void {
    const { placement, asking, begin, start } = chunk;
    const unit = this.prefill.get(placement.prefill.name)!;
    if (begin && !resumes) {
      unit.open(placement.id, placement.promptBlocks, start);
      if (keepsSlices(placement)) {
        this.decode.get(placement.prefill.name)!.open(placement.id, placement.decodeBlocks, placement.from);
        this.#slice(placement, unit, start);
      }
    }
    this.#chunks.push({ chunk, unit, failed: false, asked: asking.map(({ generated }) => generated.length) });
  }

  #startStep(step: PlannedStep): void {
    const asked = step.asking.map(({ placement: { sequence } }) => sequence.generated.length);
    // Something is asked about the last layers of a prompt.
    const behind = this.scheduler.chunkBehind(step, ({ last }) => !last || this.below(2) === 0);
    this.#steps.push({ step, unit: this.decode.get(step.group.name)!, failed: false, asked, behind });
  }

  /** Something that is in flight comes back. @returns whether anything was */
  settle(): boolean {
    const [chunks, handoffs] = [this.#chunks.length, this.#handoffs.length];
    const flights = chunks + handoffs + this.#steps.length;
    if (flights === 0) return false;
    const which = this.below(flights);
    if (which < chunks) this.settleChunk(which);
    else if (which < chunks + handoffs) this.#settleHandoff(which - chunks);
    else this.#settleStep(which - chunks - handoffs);
    this.check();
    return true;
  }

  check(): void {
    this.scheduler.checkIntegrity();
    for (const client of new Set(Array.from(this.scheduler.waiting, ({ client }) => client))) {
      const waiting = this.scheduler.waiting.of(client);
      for (let i = 1; i < waiting.length; i++) {
        const [before, after] = [waiting[i - 1], waiting[i]];
        const inTurn = before.priority < after.priority || before.priority === after.priority && before.order < after.order;
        assert(inTurn, "first come, first served, among those of one priority");
      }
    }
  }

  /** One of the chunks in flight comes back. */
  settleChunk(index: number): void {
    const [{ chunk, unit, failed, asked }] = this.#chunks.splice(index, 1);
    const { placement, count, last } = chunk;
    assert(count > 0, "the last token is always computed, for its logits");
    if (failed) return this.scheduler.chunkFailed(chunk);
    if (placement.prefill instanceof MixedUnit && this.below(4) === 0) {
      // Layers of it are left.
      this.#paused.add(chunk);
      return this.scheduler.chunkPaused(chunk);
    }
    this.#write(chunk, unit);
    if (last && (placement.decode === null || keepsSlices(placement))) unit.close(placement.id);
    if (last && placement.decode !== null && !placement.mixed) this.#handoffs.push({ chunk, unit, failed: false });
    const outcome = this.scheduler.chunkDone(chunk);
    if (outcome.computed !== null && !outcome.computed.ended) this.#finish(outcome.computed);
    outcome.asked.forEach((sequence, i) => sequence !== null && this.#append(sequence, asked[i]));
  }

  #settleHandoff(index: number): void {
    const [{ chunk, unit, failed }] = this.#handoffs.splice(index, 1);
    const { placement } = chunk;
    const group = placement.decode!;
    if (failed) return this.scheduler.chunkFailed(chunk);
    const decode = this.decode.get(group.name)!;
    const held = unit.context(placement.id);
    // What was for a group that is lost, even if it is back, goes nowhere.
    if (!group.up || !decode.held.has(placement.id)) return this.scheduler.chunkFailed(chunk);
    for (let position = placement.from; position < held.length; position++) decode.write(placement.id, position, held[position]!);
    unit.close(placement.id);
    this.scheduler.handed(chunk);
  }

  #settleStep(index: number): void {
    const [{ step, unit, failed, asked, behind }] = this.#steps.splice(index, 1);
    if (failed) {
      this.scheduler.stepFailed(step);
      if (behind !== null) this.scheduler.chunkFailed(behind);
      return;
    }
    for (const { placement, from, tokens, blocks } of step.forks) unit.fork(placement.id, from.id, tokens, blocks);
    for (const { sequence, blocks } of step.grow) unit.grow(sequence, blocks);
    for (const { sequence, token, position } of step.rows) unit.write(sequence, position, token);
    assert(step.rows.length <= this.options.stepRows, "the step is within its budget");
    for (const [placement, count] of step.advanced) {
      const { prompt, generated } = placement.sequence;
      const { drafted = [] } = step.asking.find((asking) => asking.placement === placement) ?? {};
      const context = [...prompt, ...generated].slice(0, placement.length + count);
      assertEquals(unit.context(placement.id), [...context, ...drafted], "the group holds prompt and answer, and what is drafted behind");
    }
    // More rows take less time for each.
    step.group.costs.note(step.rows.length, 10 + step.rows.length);
    const answered = this.scheduler.stepDone(step);
    if (behind !== null) this.#settleBehind(behind);
    answered.forEach((sequence, i) => {
      if (sequence === null) return;
      assert(sequence.ended || sequence.generated.length === asked[i], "an answer is about the token that is next");
      new FollowedDraft(step.asking[i], sequence, 0).follow([], this.scheduler.drafts, () => {
        this.#append(sequence, sequence.generated.length);
        return true;
      });
    });
  }

  /** Layers that were computed behind a step; of the last chunk of a prompt, not the last ones. */
  #settleBehind(chunk: PrefillChunk): void {
    if (chunk.last || this.below(2) === 0) return this.scheduler.chunkPaused(chunk);
    this.#paused.delete(chunk);
    this.#write(chunk, this.prefill.get(chunk.placement.prefill.name)!);
    this.scheduler.chunkDone(chunk);
  }

  /** What is computed of a prompt up to some position comes to where it is generated from, but for what was there already. */
  #slice({ id, prefill }: Placement, unit: SimulatedUnit, end: number): void {
    const kept = this.decode.get(prefill.name)!;
    const held = unit.context(id);
    for (let position = kept.held.get(id)!.length; position < end; position++) kept.write(id, position, held[position]!);
  }

  /** What a chunk computes, and what its unit's ranks keep of that to generate from. */
  #write({ placement, start, count }: PrefillChunk, unit: SimulatedUnit): void {
    const { prompt } = placement.sequence;
    for (let position = start; position < start + count; position++) unit.write(placement.id, position, prompt[position]);
    assertEquals(unit.context(placement.id), prompt.slice(0, start + count), "the prefill unit holds the prompt");
    if (keepsSlices(placement)) this.#slice(placement, unit, start + count);
  }

  /** @param index of the token that was asked for */
  #append(sequence: Sequence, index: number): void {
    if (sequence.ended) return;
    assertEquals(sequence.generated.length, index, "an answer is about the token that is next");
    assertEquals(sequence.generated, sequence.generated.map((_, i) => Simulation.token(sequence, i)), "no token is lost or repeated");
    this.scheduler.append(sequence, Simulation.token(sequence, sequence.generated.length));
    this.progress.set(sequence, this.now);
    if (sequence.generated.length === sequence.mostTokens) this.#finish(sequence);
  }

  #finish(sequence: Sequence): void {
    assertEquals(sequence.generated.length, sequence.mostTokens);
    this.finished.push(sequence);
    this.scheduler.end(sequence);
  }

  #close(): void {
    for (const unit of [...this.scheduler.prefillUnits.values(), ...this.scheduler.decodeGroups.values()]) {
      for (const id of unit.takeClosing()) for (const simulated of [this.prefill, this.decode]) simulated.get(unit.name)?.close(id);
    }
  }
}

/** Whether it is generated from a copy of what is computed, in the same unit. */
function keepsSlices({ mixed, inPlace }: Placement): boolean {
  return mixed && !inPlace;
}
