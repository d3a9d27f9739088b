/**
 * One rank's forward pass: the segments of a {@link Model} with a sum over all ranks after each.
 *
 * @module
 */
import { invariant } from "../core/errors.ts";
import type { Readback } from "../kernels/device.ts";
import type { Collective } from "./collective.ts";
import type { Step } from "./context.ts";
import type { Model } from "./model.ts";

/** Runs steps together with the other ranks of its unit. */
export class RankForward {
  readonly model: Model;
  readonly collective: Collective;
  readonly #delta: Readback;

  private constructor(model: Model, collective: Collective, delta: Readback) {
    this.model = model;
    this.collective = collective;
    this.#delta = delta;
  }

  static async create(model: Model, collective: Collective): Promise<RankForward> {
    invariant(model.ranks === collective.ranks, `a model for ${model.ranks} ranks is in a unit of ${collective.ranks}`);
    return new RankForward(model, collective, await model.device.createReadback("delta", model.delta.bytes));
  }

  /**
   * Runs a step up to the last layer; its end is recorded but not submitted.
   *
   * @param afterAttention called when a layer's latents of the step are recorded, to hand them over
   */
  async run(step: Step, afterAttention?: (layer: number) => Promise<void>): Promise<void> {
    const { model } = this;
    model.recordEmbedding(step);
    for (let layer = 0; layer < model.spec.layers; layer++) {
      model.recordAttention(layer, step);
      await afterAttention?.(layer);
      await this.#sum(step.rows.length);
      model.recordFeedForward(layer, step);
      await this.#sum(step.rows.length);
    }
    model.recordEnd(step);
  }

  /** Frees what belongs to this pass; the model stays. */
  destroy(): void {
    this.#delta.destroy();
  }

  /** delta ← Σ over ranks of delta. One submission: a rank alone submits nothing here. */
  async #sum(rows: number): Promise<void> {
    if (this.collective.ranks === 1) return;
    const { device, delta, spec } = this.model;
    const values = rows * spec.hiddenSize;
    device.read(this.#delta, delta, 0, values * 4);
    device.submit();
    const input = this.collective.input(values);
    await this.#delta.take(new Uint8Array(input.buffer, input.byteOffset, input.byteLength));
    device.write(delta, 0, await this.collective.allReduce(values));
  }
}
