/**
 * One generation's way through a model in this process.
 *
 * @module
 */
import { setImmediate } from "node:timers/promises";
import type { TokenRequest } from "../core/engine.ts";
import type { LogitsAnswer, LogitsQuery, SequenceRunner } from "../core/generation.ts";
import type { CandidateList } from "../core/sampling/candidates.ts";
import type { StepTimes } from "../core/step_times.ts";
import { AdjustmentList } from "./adjustment_list.ts";
import type { Step } from "./context.ts";
import type { CachedSequence } from "./latent_cache.ts";
import type { Phase } from "./linear_binding.ts";
import type { Model } from "./model.ts";
import { anticipateNext } from "./next_step.ts";
import { scorePrompt } from "./score_prompt.ts";

/** Computes one sequence on a {@link Model}. */
export class LocalSequence implements SequenceRunner {
  readonly #model: Model;
  readonly #request: TokenRequest;
  readonly #sequence: CachedSequence;
  readonly #check: () => void;
  readonly #adjustments = new AdjustmentList();
  readonly #times: StepTimes;
  /** When the last step ended; null: there was none. */
  #stepEnd: number | null = null;

  /** @param check throws when the generation must end @param times of steps, which are added */
  constructor(model: Model, request: TokenRequest, sequence: CachedSequence, { check, times }: { check(): void; readonly times: StepTimes }) {
    this.#model = model;
    this.#request = request;
    this.#sequence = sequence;
    this.#check = check;
    this.#times = times;
  }

  async prefill(query: LogitsQuery | null, promptLogprobs: number | null) {
    const { prompt } = this.#request;
    const { cache, limits, head, device, clock } = this.#model;
    const lists: CandidateList[] = [];
    let step: Step | null = null;
    clock.begin("prefill");
    for (let start = 0; start < prompt.length; start += limits.prefillRows) {
      const rows = Math.min(limits.prefillRows, prompt.length - start);
      cache.grow(this.#sequence, rows);
      step = this.#record("prefill", prompt.slice(start, start + rows));
      if (promptLogprobs !== null) lists.push(...await scorePrompt(this.#model, prompt.slice(start + 1, start + rows + 1), promptLogprobs));
      device.submit();
      if (start + rows === prompt.length && query !== null) head.recordLogits("prefill", rows - 1, 1);
      clock.lap("record");
      await this.#breathe();
    }
    const answer = query === null ? null : await this.#answer(step!, query);
    await clock.end();
    return { answer, prompt: lists };
  }

  async step(token: number, query: LogitsQuery): Promise<LogitsAnswer> {
    await this.#breathe();
    const { cache, head, clock } = this.#model;
    clock.begin("decode");
    const started = performance.now();
    cache.grow(this.#sequence, 1);
    const step = this.#record("decode", [token]);
    head.recordLogits("decode", 0, 1);
    const answer = await this.#answer(step, query);
    this.#count(started, performance.now());
    await clock.end();
    return answer;
  }

  /** A step is done. */
  #count(started: number, ended: number): void {
    const times = this.#times;
    times.steps++;
    times.rows++;
    for (const part of ["computeMs", "workerMs", "totalMs"] as const) times[part] += ended - started;
    times.betweenMs += started - (this.#stepEnd ?? started);
    this.#stepEnd = ended;
  }

  row(): Promise<Float32Array> {
    return this.#model.head.logitsRow(0);
  }

  /** Lets the server do its part, and looks whether the generation is still wanted. */
  async #breathe(): Promise<void> {
    await setImmediate();
    this.#model.clock.lap("rest");
    this.#check();
  }

  #record(phase: Phase, tokens: readonly number[]): Step {
    const first = this.#sequence.length;
    const step: Step = { phase, rows: tokens.map((token, i) => ({ token, position: first + i, sequence: this.#sequence })) };
    this.#model.record(step);
    this.#sequence.length += tokens.length;
    return step;
  }

  /** Asks about the last row of a step whose logits are recorded; the step that follows is encoded meanwhile. */
  async #answer(step: Step, query: LogitsQuery): Promise<LogitsAnswer> {
    const queries = [{ ...query, adjustments: this.#adjustments.follow(query.adjustments) }];
    return (await this.#model.head.answers(queries, () => anticipateNext(this.#model, step, queries)))[0];
  }
}
