/**
 * Says what the time of a worker's steps goes into. Whoever computes a step says what it has been doing (`lap`); what the device's own counters know, encoding ahead
 * and submitting, is taken out of that.
 *
 * @module
 */
import { newStepParts, type StepParts } from "../../core/step_times.ts";
import type { Device } from "../../kernels/device/device.ts";
import type { Phase } from "./linear_binding.ts";

/** What can be said. */
export type Doing = "record" | "readback" | "peer" | "sum" | "handoff" | "rest";

/** Milliseconds after a step in which a worker is still said to be at it: whoever is asked between two steps of a stream is not idle. */
const LASTS_MS = 250;

/** One model's steps, one at a time. */
export class StepClock {
  readonly #device: Pick<Device, "counters" | "keepsTimes" | "forgetTime" | "takeTime">;
  readonly #now: () => number;
  readonly #totals: Readonly<Record<Phase, StepParts>> = { prefill: newStepParts(), decode: newStepParts() };
  /** The step that is computed; null: none. */
  #step: StepParts | null = null;
  #phase: Phase = "decode";
  #last = -Infinity;
  #began = { encodeMs: 0, submitMs: 0, submissions: 0, submissionsAhead: 0 };
  /** Of the device's counters, at the last lap. */
  #known = 0;

  /** @param now in milliseconds */
  constructor(device: Pick<Device, "counters" | "keepsTimes" | "forgetTime" | "takeTime">, now: () => number = () => performance.now()) {
    this.#device = device;
    this.#now = now;
  }

  /** Totals of steps that are done. */
  get totals(): Readonly<Record<Phase, Readonly<StepParts>>> {
    return this.#totals;
  }

  /** What is computed now, or was a moment ago; null: nothing. */
  get phase(): Phase | null {
    return this.#step === null && this.#now() - this.#last > LASTS_MS ? null : this.#phase;
  }

  /** A step begins; one that has not ended is forgotten. */
  begin(phase: Phase): void {
    const { encodeMs, submitMs, submissions, submissionsAhead } = this.#device.counters;
    this.#device.forgetTime();
    this.#phase = phase;
    this.#step = newStepParts();
    this.#began = { encodeMs, submitMs, submissions, submissionsAhead };
    this.#known = encodeMs + submitMs;
    this.#last = this.#now();
  }

  /** What has been done since the last lap. Nothing outside of a step. */
  lap(doing: Doing): void {
    if (this.#step === null) return;
    const now = this.#now();
    const { encodeMs, submitMs } = this.#device.counters;
    const known = encodeMs + submitMs;
    this.#step[`${doing}Ms`] += now - this.#last - (known - this.#known);
    this.#last = now;
    this.#known = known;
  }

  /** The step has failed: what it did counts for nothing, and nothing is computed any more. */
  drop(): void {
    this.#step = null;
  }

  /** The step is done; what it did last was nothing in particular. */
  async end(): Promise<void> {
    if (this.#step === null) return;
    this.lap("rest");
    const { encodeMs, submitMs, submissions, submissionsAhead } = this.#device.counters;
    const step = this.#step;
    const total = this.#totals[this.#phase];
    this.#step = null;
    step.steps = 1;
    step.encodeMs = encodeMs - this.#began.encodeMs;
    step.submitMs = submitMs - this.#began.submitMs;
    step.submissions = submissions - this.#began.submissions;
    step.submissionsAhead = submissionsAhead - this.#began.submissionsAhead;
    // Not part of the step: it is asked for only where passes are timed.
    if (this.#device.keepsTimes) step.deviceMs = await this.#device.takeTime();
    for (const part of Object.keys(step) as (keyof StepParts)[]) if (step[part] !== null) total[part] = (total[part] ?? 0) + step[part];
  }
}
