/**
 * One rank's forward pass: the segments of a {@link Model}, after each of which the ranks exchange what they have computed.
 *
 * A decode step does not let the event loop turn unless its parts come over sockets of this very thread: it runs from its first to its last layer in one go,
 * waiting for the device and for the other ranks where it stands. A prompt lets it turn, since it takes long, and hands over what it has computed on the way.
 *
 * @module
 */
import { invariant } from "../../core/errors.ts";
import { dtypeBytes } from "../../core/wire/messages.ts";
import type { Readback } from "../../kernels/device/device.ts";
import { type Collective, type Exchanged, NO_SUM } from "../collective/collective.ts";
import type { Step } from "../forward/context.ts";
import type { Owed } from "../forward/exchanges.ts";
import type { Model } from "../forward/model.ts";
import { LargeUploads } from "./large_uploads.ts";

/** Layers of a step, half-open. */
export interface Layers {
  readonly first: number;
  readonly end: number;
}

/** Layers of a prompt after which what was recorded is begun with: recording all of V2-Lite's takes 5 ms. */
const LAYERS_AT_ONCE = 4;

/** What {@link RankForward.run} does besides. */
export interface RunOptions {
  /** Which of its layers are run; all by default. Those before them were run last. */
  readonly layers?: Layers;
  /** Called when a layer's latents of the step are recorded, to hand them over. */
  readonly afterAttention?: (layer: number) => Promise<void>;
  /**
   * Records what follows the step. If it is given, what follows an exchange is encoded while the device works on what comes before; of use where nothing else
   * is recorded on the device meanwhile.
   */
  readonly followed?: () => void;
}

/** Runs steps together with the other ranks of its unit. */
export class RankForward {
  readonly model: Model;
  readonly collective: Collective;
  readonly #part: Readback;
  readonly #large: LargeUploads;

  private constructor(model: Model, collective: Collective, part: Readback) {
    this.model = model;
    this.collective = collective;
    this.#part = part;
    this.#large = new LargeUploads(model.device, model.group.ranks === 1 ? 0 : model.exchanges.bytes);
  }

  static async create(model: Model, collective: Collective): Promise<RankForward> {
    const { ranks, wire } = model.group;
    invariant(ranks === collective.ranks, `a model for ${ranks} ranks is in a unit of ${collective.ranks}`);
    invariant(ranks === 1 || wire === collective.wire, `a model that sends ${wire} is in a unit that sends ${collective.wire}`);
    return new RankForward(model, collective, await model.device.createReadback("what ranks exchange", model.exchanges.bytes));
  }

  /** Runs a step up to the last layer; its end is recorded but not submitted. */
  async run(step: Step, { layers = { first: 0, end: this.model.spec.layers }, afterAttention, followed }: RunOptions = {}): Promise<void> {
    const { model } = this;
    const { clock } = model;
    clock.lap("rest");
    const { segmentsPerLayer: perLayer } = model;
    for (let segment = layers.first * perLayer; segment < layers.end * perLayer; segment++) {
      model.recordSegment(segment, step);
      if (afterAttention !== undefined && segment % perLayer === 0) {
        clock.lap("record");
        await afterAttention(segment / perLayer);
      }
      const exchange = this.#exchange(step, followed && (() => this.#recordFrom(segment + 1, step, followed)));
      if (exchange !== undefined) await exchange;
      if (step.phase === "prefill" && segment % (perLayer * LAYERS_AT_ONCE) === perLayer - 1) model.device.submit();
    }
    if (layers.end < model.spec.layers) return;
    model.recordEnd(step);
    // A layer that drafts caches latents of the step, too, and index keys are handed over as layers behind all others.
    for (let layer = model.spec.layers; layer < model.cache.buffers.length; layer++) await afterAttention?.(layer);
  }

  /** Records layers of a step of a rank that is alone, and begins with them: nothing is waited for. */
  runAlone(step: Step, { first, end }: Layers): void {
    const { model } = this;
    invariant(this.collective.ranks === 1, "a rank among others waits for sums");
    const { segmentsPerLayer: perLayer } = model;
    for (let segment = first * perLayer; segment < end * perLayer; segment++) model.recordSegment(segment, step);
    if (end === model.spec.layers) model.recordEnd(step);
    model.device.submit();
  }

  /** Says that a step is most likely run next, followed by what `followed` records: it is encoded as far as it is submitted at once. */
  anticipate(step: Step, followed: () => void): void {
    this.model.anticipate(() => this.#recordFrom(0, step, followed));
  }

  /** Frees what belongs to this pass; the model stays. */
  async destroy(): Promise<void> {
    this.#part.destroy();
    await this.#large.close();
  }

  /** Records a step from one of its segments on, up to the next exchange or to its end. */
  #recordFrom(first: number, step: Step, followed: () => void): void {
    const { model } = this;
    for (let segment = first; segment < model.segments; segment++) {
      model.recordSegment(segment, step);
      if (model.owes !== null) return model.exchanges.record(model.owes, step.rows.length, this.#part);
    }
    model.recordEnd(step);
    followed();
  }

  /**
   * What the ranks owe each other goes where it is consumed; one submission. Nothing, where this rank has all of it.
   *
   * @param next records what is submitted next, if that is to be encoded meanwhile
   * @returns a promise only where something has to be waited for: even one that has settled would cost a turn
   */
  #exchange({ phase, rows: { length: rows } }: Step, next?: () => void): undefined | Promise<void> {
    const { model, collective } = this;
    const { owes: owed, exchanges } = model;
    if (owed === null) return;
    const values = exchanges.values(owed, rows);
    exchanges.record(owed, rows, this.#part);
    model.device.submit();
    model.clock.lap("record");
    const { travels } = collective;
    let meanwhile = next && (() => model.anticipate(next));
    if (travels !== "meanwhile") {
      meanwhile?.();
      meanwhile = undefined;
    }
    // Turns of the event loop deal with the ends of earlier mappings, too: `take` leaves them none that others wait for.
    if (phase === "prefill" || values > collective.mostValues || travels === "in turns") return this.#exchangeLater(owed, rows, meanwhile);
    const input = collective.input(values, (other, part) => exchanges.take(owed, other, part, rows));
    if (this.#part.takeNow(input, collective.poll) === null) return this.#exchangeLater(owed, rows, meanwhile);
    model.clock.lap("readback");
    const exchanged = collective.exchange(values, wholeOf(owed, values), meanwhile);
    if (exchanged instanceof Promise) return exchanged.then((exchanged) => this.#takeExchanged(owed, exchanged, rows));
    this.#takeExchanged(owed, exchanged, rows);
  }

  #takeExchanged(owed: Owed, exchanged: Exchanged, rows: number): void {
    const { clock, device, exchanges } = this.model;
    clock.lap("peer");
    for (const { buffer, offset, data } of exchanges.uploads(owed, exchanged, 0, rows)) device.write(buffer, offset, data);
    this.model.exchanged(exchanged);
    clock.lap("sum");
  }

  async #takeLarge(owed: Owed, exchanged: Exchanged, first: number, rows: number): Promise<void> {
    const { clock, exchanges } = this.model;
    clock.lap("peer");
    await this.#large.write(exchanges.uploads(owed, exchanged, first, rows));
    this.model.exchanged(exchanged);
    clock.lap("sum");
  }

  /** The same, piece by piece where there is much, with turns of the event loop. */
  async #exchangeLater(owed: Owed, rows: number, meanwhile?: () => void): Promise<void> {
    const { model, collective } = this;
    const values = model.exchanges.values(owed, rows);
    const inOne = values <= collective.mostValues;
    const whole = wholeOf(owed, values);
    const bytes = await (inOne ? this.#part.take(collective.input(values)) : this.#part.take());
    model.clock.lap("readback");
    if (inOne) return await this.#takeLarge(owed, await collective.exchange(values, whole, meanwhile), 0, rows);
    meanwhile?.();
    const perValue = dtypeBytes(collective.wire);
    for (let first = 0; first < values; first += collective.mostValues) {
      const count = Math.min(collective.mostValues, values - first);
      collective.input(count).set(bytes.subarray(first * perValue, (first + count) * perValue));
      await this.#takeLarge(owed, await collective.exchange(count, whole), first, rows);
    }
  }
}

/** Of how many values a sum is made, for {@link Collective.exchange}. */
function wholeOf(owed: Owed, values: number): number {
  return owed === "parts" ? values : NO_SUM;
}
