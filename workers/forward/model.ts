/**
 * The forward pass, once, for every device and role: embedding, layers, logits. A step is recorded as a whole and submitted once.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { invariant } from "../../core/errors.ts";
import { shortPositions } from "../../core/model/rope.ts";
import type { ModelSpec } from "../../core/model/spec.ts";
import type { GroupPlace } from "../../core/tpla/group_place.ts";
import type { Device } from "../../kernels/device/device.ts";
import { SHORT_SEQUENCE } from "../../kernels/rope_store/rope_store.ts";
import { type Activations, mostRows, type StepLimits } from "./activations.ts";
import { StreamEnd } from "./block.ts";
import type { Pending } from "./pending.ts";
import type { Exchanged } from "../collective/collective.ts";
import type { ModelContext, Step, StepPart, StepRow } from "./context.ts";
import { contextWith, createContext, type ModelOptions } from "./create_context.ts";
import { Exchanges, type Owed } from "./exchanges.ts";
import { chosenRoom } from "./sparse_activations.ts";
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
  readonly exchanges: Exchanges;
}

/** A model on one device with its latent cache. */
export class Model {
  readonly spec: ModelSpec;
  readonly cache: LatentCache;
  readonly head: LogitsHead;
  /** What its ranks give each other between segments. */
  readonly exchanges: Exchanges;
  /** Parts of a step that a layer has: attention, in two parts where ranks share latents by tokens, and feed-forward block. */
  readonly segmentsPerLayer: number;
  readonly #context: ModelContext;
  readonly #parts: Parts;
  readonly #stepWords: Uint32Array<ArrayBuffer>;
  /** See `attended` of {@link Activations}. */
  readonly #attendedWords: Uint32Array<ArrayBuffer>;
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
    this.exchanges = parts.exchanges;
    this.segmentsPerLayer = context.sharing === null ? 2 : 3;
    this.#stepWords = new Uint32Array(mostRows(context.limits) * 4);
    const { sharing, spec: { indexer } } = context;
    this.#attendedWords = new Uint32Array(sharing === null && indexer === null ? 0 : context.limits.decodeRows * 4);
    this.#scripts = new DecodeScripts(context.device);
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
    return await Model.#build(contextWith(model.#context, limits), weights);
  }

  /**
   * What drafts behind the steps of a model: its multi-token-prediction layer over the same cache and working memory, as a model of one layer with logits of its own.
   * A step of it begins with tokens and the hidden states before them, which either has kept.
   *
   * @throws {LatentmeshError} `out_of_memory`
   */
  static async draftHead(model: Model, weights: ModelWeights): Promise<Model> {
    const { spec } = model;
    const context = { ...model.#context, spec: { ...spec, layers: 1, mtp: false }, cached: [model.#context.cached[spec.layers]] };
    return await Model.#build(context, weights, drafting(context, weights));
  }

  static async #build(context: ModelContext, weights: ModelWeights, does: Computed = computing(context, weights)): Promise<Model> {
    const { layers, finalNorm } = does;
    // All at once: drivers that compile beside each other are done in a fraction of the time, and layers share their kernels.
    const [entry, after, bound, end, head, exchanges] = await Promise.all([
      does.entry,
      does.after,
      Promise.all(layers.map((layer, index) => createLayer(context, layer, index, layers[index - 1]))),
      StreamEnd.create(context, expertsOf(layers.at(-1))),
      LogitsHead.create(context, { ...weights, finalNorm }),
      Exchanges.create(context),
    ]);
    return new Model(context, { entry, layers: bound, end, after, head, exchanges });
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
      const layer = Math.floor(segment / this.segmentsPerLayer);
      if ((segment + 1) % this.segmentsPerLayer === 0) afterLayer?.(layer, this.#context.activations);
    }
    this.recordEnd(step);
  }

  /** Parts of a step, which with its end make up {@link record}. */
  get segments(): number {
    return this.#parts.layers.length * this.segmentsPerLayer;
  }

  /**
   * Records the residual stream → this rank's share of a block; of the first, the whole step is taken in before. A group's ranks exchange what they have computed
   * after each segment that {@link owes} it: parts of a block's output, whose sum what comes next adds to the residual stream; or what their tokens have come to.
   */
  recordSegment(segment: number, step: Step): void {
    if (segment === 0) this.#recordEmbedding(step);
    const layer = Math.floor(segment / this.segmentsPerLayer);
    const { attention, feedForward } = this.#parts.layers[layer];
    const part = segment % this.segmentsPerLayer;
    const record = () => {
      if (part === this.segmentsPerLayer - 1) return this.#recordBlock(feedForward, step);
      return part === 0 ? this.#recordBlock(attention, step) : attention.block.recordMerged(step.rows.length);
    };
    const attends = part === 0 ? this.#context.cached[layer].decode : null;
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
      if (this.owes === "parts") this.#pending = this.#exchangedAs;
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

  /** What the ranks must exchange before anything more is recorded. */
  get owes(): Owed | null {
    return this.#pending === "parts" || this.#pending === "shares" ? this.#pending : null;
  }

  /** Ranks have exchanged what they owed each other: what came is recorded from now on. */
  exchanged(exchanged: Exchanged): void {
    // What follows does not ask how they came; until it is recorded, `owes` stays as it is.
    if (this.#pending === "shares") return;
    this.#exchangedAs = "sum" in exchanged ? "delta" : "parts";
    this.#pending = this.#exchangedAs;
  }

  #recordEmbedding(step: Step): void {
    this.#writeStep(step);
    this.#parts.entry.record(step);
    this.#pending = "nothing";
  }

  #recordBlock({ preparation, block }: PreparedBlock, step: Step): Pending {
    return block.record(step, preparation.record(this.#pending, step, block));
  }

  /** What decode attention reads of a row. */
  #writeAttended({ position, sequence }: StepRow, words: Uint32Array, row: number): void {
    const { spec: { indexer }, cache: { maxContext } } = this.#context;
    words[1] = sequence.kept(position + 1) - 1;
    if (indexer === null) return;
    // Where others keep other tokens, how many of those that are chosen are kept here is known when they are.
    words[1] = Math.min(position, indexer.topTokens - 1);
    words[3] = row * chosenRoom(indexer, maxContext) / BLOCK_TOKENS;
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
    const { activations: { step: all, attended } } = this.#context;
    this.device.write(all, 0, words.subarray(0, step.rows.length * 4));
    const own = this.#attendedWords;
    if (own.length === 0 || step.phase === "prefill") return;
    own.set(words.subarray(0, step.rows.length * 4));
    step.rows.forEach((of, row) => this.#writeAttended(of, own.subarray(row * 4, (row + 1) * 4), row));
    this.device.write(attended, 0, own.subarray(0, step.rows.length * 4));
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
