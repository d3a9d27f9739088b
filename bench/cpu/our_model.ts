/**
 * A model on a `wasm` device, without anything around it: prompts in chunks as a worker computes them, and steps of some sequences.
 *
 * @module
 */
import { Checkpoint } from "../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../core/model/config.ts";
import type { ModelFiles } from "../../core/model/checkpoint.ts";
import type { WeightPolicy } from "../../core/model/matrix_source.ts";
import { choosePrefillSizes } from "../../core/model/prefill_sizes.ts";
import type { Device } from "../../kernels/device/device.ts";
import type { Step } from "../../workers/forward/context.ts";
import { AdjustmentList } from "../../workers/forward/adjustment_list.ts";
import { Model } from "../../workers/forward/model.ts";
import { loadWeights } from "../../workers/load/loader.ts";
import { openBenchDevice } from "../support/device.ts";
import { median } from "../table.ts";

/** How a model is run. */
export interface OurOptions {
  readonly weights: WeightPolicy;
  readonly threads: number;
  /** Longest sequence. */
  readonly context: number;
  /** Sequences of a step at most. */
  readonly sequences?: number;
  /** Whether V8 was started with `wideFlags` (core/wide_kernels.ts). */
  readonly wide?: boolean;
}

type Sequence = Step["rows"][number]["sequence"];

/** A loaded model. */
export class OurModel {
  readonly #device: Device;
  readonly #model: Model;

  private constructor(device: Device, model: Model) {
    this.#device = device;
    this.#model = model;
  }

  static async load(files: ModelFiles, { weights: policy, threads, context, sequences = 1, wide }: OurOptions): Promise<OurModel> {
    const device = await openBenchDevice("wasm", { threads, wide });
    const spec = parseModelConfig((await files.text("config.json"))!, files.name);
    const weights = await loadWeights(device, await Checkpoint.open(files), spec, { weights: policy });
    const { kind, limits: { maxBindingBytes } } = device;
    const { chunk, window, keptWindows } = choosePrefillSizes(spec, { kind, maxBindingBytes, freeBytes: null }, {}, context);
    const model = await Model.create(device, weights, {
      cacheDtype: "f32",
      maxTokens: context * sequences,
      maxContext: context,
      maxSequences: sequences,
      limits: { prefillRows: chunk, decodeRows: sequences, window, keptWindows, logitRows: sequences },
    });
    return new OurModel(device, model);
  }

  /** The most probable tokens after a prompt. */
  async generate(prompt: readonly number[], count: number): Promise<number[]> {
    const sequence = this.#model.cache.open();
    const tokens = [await this.#prefill(sequence, prompt)];
    while (tokens.length < count) tokens.push(...await this.#step([sequence], [tokens.at(-1)!]));
    this.#model.cache.close(sequence);
    return tokens;
  }

  /** The same, with all logits that they were chosen by: [tokens, vocabulary]. */
  async score(prompt: readonly number[], count: number): Promise<{ readonly tokens: readonly number[]; readonly logits: Float32Array<ArrayBuffer> }> {
    const { head, spec: { vocabSize } } = this.#model;
    const sequence = this.#model.cache.open();
    const logits = new Float32Array(count * vocabSize);
    const tokens = [await this.#prefill(sequence, prompt)];
    while (true) {
      logits.set(await head.logits(1), (tokens.length - 1) * vocabSize);
      if (tokens.length === count) break;
      tokens.push(...await this.#step([sequence], [tokens.at(-1)!]));
    }
    this.#model.cache.close(sequence);
    return { tokens, logits };
  }

  /** Median milliseconds of a prompt of so many tokens, and the quickest and the slowest. The first is not counted. */
  async timePrompt(length: number, runs: number): Promise<readonly number[]> {
    const times: number[] = [];
    for (let run = 0; run <= runs; run++) {
      const sequence = this.#model.cache.open();
      const began = performance.now();
      await this.#prefill(sequence, promptOf(length));
      if (run > 0) times.push(performance.now() - began);
      this.#model.cache.close(sequence);
    }
    return times;
  }

  /** Milliseconds of steps of so many sequences after prompts of so many tokens. */
  async timeSteps(context: number, sequences: number, steps: number): Promise<readonly number[]> {
    const all = Array.from({ length: sequences }, () => this.#model.cache.open());
    let tokens: number[] = [];
    for (const [i, sequence] of all.entries()) tokens.push(await this.#prefill(sequence, promptOf(context, i)));
    const times: number[] = [];
    for (let step = 0; step < steps; step++) {
      const began = performance.now();
      tokens = await this.#step(all, tokens);
      times.push(performance.now() - began);
    }
    for (const sequence of all) this.#model.cache.close(sequence);
    return times;
  }

  async close(): Promise<void> {
    await this.#device.close();
  }

  async #prefill(sequence: Sequence, prompt: readonly number[]): Promise<number> {
    const { cache, head, limits: { prefillRows } } = this.#model;
    cache.grow(sequence, prompt.length);
    for (let start = 0; start < prompt.length; start += prefillRows) {
      const rows = prompt.slice(start, start + prefillRows).map((token, i) => ({ token, position: start + i, sequence }));
      this.#model.record({ phase: "prefill", rows });
      if (start + rows.length === prompt.length) head.recordLogits("prefill", rows.length - 1, 1);
      else {
        this.#device.submit();
        await this.#device.settle();
      }
    }
    sequence.length = prompt.length;
    const [{ plain }] = await head.answers([queryAt(prompt.length)]);
    return plain!.tokens[0];
  }

  async #step(sequences: readonly Sequence[], tokens: readonly number[]): Promise<number[]> {
    const rows = sequences.map((sequence, i) => {
      this.#model.cache.grow(sequence, 1);
      return { token: tokens[i], position: sequence.length++, sequence };
    });
    this.#model.record({ phase: "decode", rows });
    this.#model.head.recordLogits("decode", 0, rows.length);
    const answers = await this.#model.head.answers(rows.map(({ position }) => queryAt(position + 1)));
    return answers.map(({ plain }) => plain!.tokens[0]);
  }
}

/** Tokens that say nothing. */
export function promptOf(length: number, seed = 0): number[] {
  return Array.from({ length }, (_, i) => 100 + (i * 7919 + seed * 131) % 400);
}

/** Tokens a second. */
export function perSecond(tokens: number, times: readonly number[]): number {
  return tokens / median(times) * 1000;
}

/** The best token, but for its position. */
function queryAt(position: number) {
  return { key: 0, inverseTemperature: 1, plain: 1, adjusted: 0, adjustments: new AdjustmentList(), mask: null, draw: false, position };
}
