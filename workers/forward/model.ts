/**
 * The forward pass, once, for every device and role: embedding, layers, logits. A step is recorded as a whole and submitted once.
 *
 * @module
 */
import { invariant, LatentmeshError } from "../../core/errors.ts";
import { shortPositions } from "../../core/model/rope.ts";
import type { ModelSpec } from "../../core/model/spec.ts";
import type { GroupPlace } from "../../core/tpla/group_place.ts";
import { dtypeBytes } from "../../core/wire/messages.ts";
import type { BoundKernel, Device, DeviceBuffer, Readback } from "../../kernels/device/device.ts";
import { roundInput } from "../../kernels/linear/round_input.ts";
import { SHORT_SEQUENCE } from "../../kernels/rope_store/rope_store.ts";
import { type Activations, createActivations, mostRows, type StepLimits } from "./activations.ts";
import { type Pending, StreamEnd } from "./block.ts";
import type { Exchanged } from "../collective/collective.ts";
import type { ModelContext, Step, StepPart } from "./context.ts";
import { bothOf, createContext, type ModelOptions } from "./create_context.ts";
import { LatentCache } from "./latent_cache.ts";
import { createLayer, expertsOf, type Layer, type PreparedBlock } from "./layer.ts";
import type { Phase } from "./linear_binding.ts";
import { DecodeScripts } from "./decode_scripts.ts";
import { LogitsHead } from "./logits_head.ts";
import { MtpCache } from "./mtp_cache.ts";
import { type Computed, drafting } from "./mtp_draft.ts";
import { StepClock } from "./step_clock.ts";
import { TokenEmbedding } from "./token_embedding.ts";
import type { ModelWeights } from "./weights.ts";

export type { ModelOptions };

/** Bytes on their way to a buffer. */
export interface Upload {
  readonly buffer: DeviceBuffer;
  /** In bytes. */
  readonly offset: number;
  readonly data: ArrayBufferView<ArrayBuffer>;
}

/** Rows between one and a whole chunk, of which small layers make more tiles. */
const WARM_ROWS = 256;

/** What a model is made of, bound. */
interface Parts {
  /** Tokens → the residual stream. */
  readonly entry: StepPart;
  readonly layers: readonly Layer[];
  readonly end: StreamEnd;
  /** What is done with the residual stream then; null: nothing. */
  readonly after: StepPart | null;
  readonly head: LogitsHead;
  /** Rounds this rank's part of a block's output to what is sent; null where it is sent as it is. */
  readonly round: BoundKernel<"rows"> | null;
}

/** A model on one device with its latent cache. */
export class Model {
  readonly spec: ModelSpec;
  readonly cache: LatentCache;
  readonly head: LogitsHead;
  readonly #context: ModelContext;
  readonly #parts: Parts;
  readonly #stepWords: Uint32Array<ArrayBuffer>;
  readonly #scripts: DecodeScripts<Pending>;
  #pending: Pending = "nothing";
  /** In which form the last exchange was taken in. */
  #exchangedAs: Pending = "parts";
  #anticipates = false;

  private constructor(context: ModelContext, parts: Parts) {
    this.spec = context.spec;
    this.cache = context.cache;
    this.head = parts.head;
    this.#context = context;
    this.#parts = parts;
    this.#stepWords = new Uint32Array(mostRows(context.limits) * 4);
    this.#scripts = new DecodeScripts(context.device, context.decode.config);
  }

  /** Compiles every kernel and allocates cache and working memory. @throws {LatentmeshError} `out_of_memory` */
  static async create(device: Device, weights: ModelWeights, options: ModelOptions): Promise<Model> {
    return await Model.#build(createContext(device, weights, options), weights);
  }

  /**
   * The same weights and the same cache with working memory of its own: a step of each can be under way.
   *
   * @param limits of its steps; the same by default
   * @throws {LatentmeshError} `out_of_memory`
   */
  static async twin(model: Model, weights: ModelWeights, limits: StepLimits = model.limits): Promise<Model> {
    const {
      device,
      spec,
      activations: { queriesLayout: queries },
      decode: { config: { mostSplits } },
      matrixUnits,
      decodesOnUnits,
      halves,
      group,
    } = model.#context;
    const activations = createActivations(device, spec, limits, { queries, mostSplits, matrixUnits, decodesOnUnits, halves, ...group });
    return await Model.#build({ ...model.#context, limits, both: bothOf(limits), activations }, weights);
  }

  /**
   * What drafts behind the steps of a model: its multi-token-prediction layer over the same cache and working memory, as a model of one layer with logits of its own.
   * A step of it begins with tokens and the hidden states before them, which either has kept.
   *
   * @throws {LatentmeshError} `out_of_memory`
   */
  static async draftHead(model: Model, weights: ModelWeights): Promise<Model> {
    const { spec, cache } = model;
    const context = { ...model.#context, spec: { ...spec, layers: 1, mtp: false }, pages: [cache.layers[spec.layers]] };
    return await Model.#build(context, weights, drafting(context, weights));
  }

  static async #build(context: ModelContext, weights: ModelWeights, does: Computed = computing(context, weights)): Promise<Model> {
    const { layers, finalNorm } = does;
    // All at once: drivers that compile beside each other are done in a fraction of the time, and layers share their kernels.
    const [entry, after, bound, end, head, round] = await Promise.all([
      does.entry,
      does.after,
      Promise.all(layers.map((layer, index) => createLayer(context, layer, index, layers[index - 1]))),
      StreamEnd.create(context, expertsOf(layers.at(-1))),
      LogitsHead.create(context, { ...weights, finalNorm }),
      bindRounding(context),
    ]);
    return new Model(context, { entry, layers: bound, end, after, head, round });
  }

  /** Runs tokens of no sequence, so that what drivers do on first use, software ones for a minute, is done before a request waits for it. */
  async warmUp(phase: Phase): Promise<void> {
    const { prefillRows, decodeRows, logitRows } = this.limits;
    const { kernelChanges, matrixUnits } = this.#context;
    // One row has kernels of its own, and on matrix units chunks of several lengths have.
    const lengths = phase === "prefill"
      ? [2, ...(matrixUnits ? [WARM_ROWS, prefillRows] : [])].map((rows) => Math.min(rows, prefillRows))
      : [...kernelChanges].filter((rows) => rows <= decodeRows);
    for (const rows of new Set([1, ...lengths])) {
      const sequence = this.cache.open();
      this.cache.grow(sequence, rows);
      this.record({ phase, rows: Array.from({ length: rows }, (_, position) => ({ token: 0, position, sequence })) });
      const asked = Math.min(rows, logitRows);
      this.head.recordLogits(phase, 0, asked);
      await this.head.warmUp(asked);
      this.cache.close(sequence);
    }
  }

  get device(): Device {
    return this.#context.device;
  }

  /** What the time of its steps goes into. */
  get clock(): StepClock {
    return this.#context.clock;
  }

  get limits(): StepLimits {
    return this.#context.limits;
  }

  /**
   * Records one step up to the last layer; the residual stream then holds its rows. Latents of the rows go to the cache, whose blocks must be held.
   * Nothing runs before the logits head submits.
   *
   * @param afterLayer called when a layer has been recorded, to read its working memory (tests, calibration)
   */
  record(step: Step, afterLayer?: (layer: number, activations: Activations) => void): void {
    for (let segment = 0; segment < this.segments; segment++) {
      this.recordSegment(segment, step);
      if (segment % 2 === 1) afterLayer?.((segment - 1) / 2, this.#context.activations);
    }
    this.recordEnd(step);
  }

  /** Parts of a step, which with its end make up {@link record}: attention and feed-forward block of each layer in turn. */
  get segments(): number {
    return this.#parts.layers.length * 2;
  }

  /**
   * Records the residual stream → this rank's share of a block; of the first, the whole step is taken in before. A group's ranks exchange what they have computed
   * of a block's output after each that {@link owes} it, and what comes next adds the sum to the residual stream.
   */
  recordSegment(segment: number, step: Step): void {
    if (segment === 0) this.#recordEmbedding(step);
    const layer = this.#parts.layers[Math.floor(segment / 2)];
    const attends = segment % 2 === 0;
    const record = () => this.#recordBlock(attends ? layer.attention : layer.feedForward, step);
    this.#pending = step.phase === "prefill" ? record() : this.#scripts.run(step, `${segment} ${this.#pending}`, attends, record);
  }

  /** Records that the residual stream takes the last block in. */
  recordEnd(step: Step): void {
    this.#parts.end.record(this.#pending, step.rows.length);
    this.#pending = "nothing";
    const { after } = this.#parts;
    if (after === null) return;
    after.record(step);
    if (!this.#anticipates) this.#context.kept!.note(step);
  }

  /** Says what is most likely recorded next ({@link Device.anticipate}), as if what the ranks owe each other had been exchanged. */
  anticipate(record: () => void): void {
    this.device.anticipate(() => {
      const pending = this.#pending;
      if (this.owes) this.#pending = this.#exchangedAs;
      this.#anticipates = true;
      try {
        record();
      } finally {
        this.#anticipates = false;
        this.#pending = pending;
      }
    });
  }

  /** Where it stands among the ranks that share it. */
  get group(): GroupPlace {
    return this.#context.group;
  }

  /** Whether prefill attends to keys and values in f16, on matrix units. */
  get attendsInHalves(): boolean {
    return this.#context.halves;
  }

  /** Whether the ranks must exchange their parts of the last block's output before anything more is recorded. */
  get owes(): boolean {
    return this.#pending === "parts";
  }

  /** Most bytes of a part, as it is sent. */
  get partBytes(): number {
    const { activations: { delta, sentPart }, group: { wire } } = this.#context;
    return wire === "f32" ? delta.bytes : sentPart.bytes;
  }

  /** Records that this rank's part of the last block's output, [rows, D], comes back as it is sent. */
  recordPart(rows: number, readback: Readback): void {
    const { device, spec, activations: { delta, sentPart }, group: { wire } } = this.#context;
    if (this.#parts.round !== null) device.run(this.#parts.round, { rows });
    device.read(readback, this.#parts.round === null ? delta : sentPart, 0, rows * spec.hiddenSize * dtypeBytes(wire));
  }

  /**
   * Takes in what ranks have exchanged of it.
   *
   * @param first value of a row, counted from the first row, at which it begins
   * @param rows of the whole
   * @returns what is to be uploaded before what consumes it is submitted
   */
  takeExchanged(exchanged: Exchanged, first: number, rows: number): Upload[] {
    const { spec, activations: { delta, otherParts }, group: { wire } } = this.#context;
    this.#exchangedAs = "sum" in exchanged ? "delta" : "parts";
    this.#pending = this.#exchangedAs;
    if ("sum" in exchanged) return [{ buffer: delta, offset: first * 4, data: exchanged.sum }];
    const [stride, offset] = [rows * spec.hiddenSize, first].map((values) => values * dtypeBytes(wire));
    return exchanged.parts.flatMap((data, i) => data === null ? [] : [{ buffer: otherParts, offset: i * stride + offset, data }]);
  }

  /** Uploads one rank's part of a sum of `rows` rows before the others have come; its exchange then has `null` for it. */
  takePart(other: number, part: Uint8Array<ArrayBuffer>, rows: number): void {
    const { device, spec, activations: { otherParts }, group: { wire } } = this.#context;
    device.write(otherParts, other * rows * spec.hiddenSize * dtypeBytes(wire), part);
  }

  #recordEmbedding(step: Step): void {
    this.#writeStep(step);
    this.#parts.entry.record(step);
    this.#pending = "nothing";
  }

  #recordBlock({ preparation, block }: PreparedBlock, step: Step): Pending {
    return block.record(step, preparation.record(this.#pending, step, block));
  }

  #writeStep(step: Step): void {
    const words = this.#stepWords;
    const most = step.phase === "prefill" ? this.limits.prefillRows : this.limits.decodeRows;
    invariant(step.rows.length <= most, `a ${step.phase} step of ${step.rows.length} rows exceeds ${most}`);
    const short = shortPositions(this.spec.rope);
    step.rows.forEach(({ token, position, sequence }, row) => {
      words[row * 4] = token;
      words[row * 4 + 1] = position;
      words[row * 4 + 2] = sequence.slotOf(position) + (position < short && sequence.promptTokens <= short ? SHORT_SEQUENCE : 0);
      words[row * 4 + 3] = sequence.table;
    });
    this.device.write(this.#context.activations.step, 0, words.subarray(0, step.rows.length * 4));
  }
}

/** What is computed of a model, around its own layers. */
function computing(context: ModelContext, weights: ModelWeights): Computed {
  const { layers, finalNorm, mtp } = weights;
  return {
    entry: TokenEmbedding.create(context, weights, context.activations.x),
    after: mtp === null ? null : MtpCache.create(context, weights, mtp),
    layers,
    finalNorm,
  };
}

async function bindRounding({ device, spec, limits, group: { ranks, wire }, activations: { delta, sentPart } }: ModelContext) {
  if (ranks === 1 || wire === "f32") return null;
  const { hiddenSize: columns } = spec;
  if (columns % 8 !== 0) {
    throw new LatentmeshError("invalid_config", `Cannot send f16 between ranks: the hidden size ${columns} is not a multiple of 8`, {
      param: "decode.wire",
    });
  }
  const rounding = await device.compile(roundInput, { columns, inputStride: columns, input: "plain" });
  return rounding.bind({ x: delta, y: sentPart }, { rows: mostRows(limits) });
}
