/**
 * A prefill rank: runs prompts through exact attention, chunk by chunk, and hands their latents to decode ranks on the way. What it has computed stays in
 * its own cache of whole latents, so that the next prompt which begins alike starts further on.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { isHost } from "../../core/device_kind.ts";
import { setImmediate } from "node:timers/promises";
import { invariant, LatentmeshError } from "../../core/errors.ts";
import type { LogitsAnswer } from "../../core/generation.ts";
import type { CandidateList } from "../../core/sampling/candidates.ts";
import type { RankShape } from "../../core/tpla/partition.ts";
import type { PeerFrame, RequestOf } from "../../core/wire/messages.ts";
import type { Answers } from "../../core/wire/queries.ts";
import type { OnProgress } from "../../core/wire/rpc.ts";
import { AdjustmentList } from "../forward/adjustment_list.ts";
import type { Collective } from "../collective/collective.ts";
import type { Step } from "../forward/context.ts";
import { Handoff, type HandoffCounters, type HandoffSizes, HandoffStage } from "../handoff/handoff_sender.ts";
import type { CachedSequence } from "../forward/latent_cache.ts";
import type { AdoptsPrompts, LocalDecoder, SlicesPrompts, TakeLatents } from "./local_decoder.ts";
import { LogitTables } from "./logit_tables.ts";
import type { HeadQuery } from "../forward/logits_head.ts";
import type { Model } from "../forward/model.ts";
import type { LayersBehind, PromptChunk } from "./prompt_chunk.ts";
import { RankForward } from "./rank.ts";
import { scorePrompt } from "./score_prompt.ts";

/** A prompt between its chunks. */
interface Prompt {
  readonly cached: CachedSequence;
  readonly handoff: Handoff | null;
  /** Takes its latents where they are generated from, on this device; null: nobody does. */
  readonly take: TakeLatents | null;
  /** First position that is handed over, or taken. */
  readonly from: number;
  readonly stays: boolean;
}

/** A chunk of which layers are left: its rows are in the working memory. */
interface UnderWay {
  readonly prompt: Prompt;
  readonly start: number;
  readonly tokens: readonly number[];
  readonly step: Step;
  readonly last: boolean;
  /** The first that is left. */
  readonly layer: number;
}

/** Positions of a prompt, half-open. */
interface Positions {
  readonly start: number;
  readonly end: number;
}

/** Cuts of a chunk that may be on their way when the next one is asked for: the device works on them meanwhile. */
const LAST_CUTS = 1;

/** Prompts of one rank, chunk by chunk. */
export class PrefillRank {
  readonly kind = "prefill";
  readonly model: Model;
  readonly #stage: HandoffStage;
  readonly #prompts = new Map<number, Prompt>();
  #forward: RankForward | null = null;
  #underWay: UnderWay | null = null;
  /** What was asked last, and of which row of the last chunk. */
  #asked: { readonly row: number; readonly queries: readonly HeadQuery[] } | null = null;
  readonly #tables: LogitTables;
  /** Who generates from prompts that stay; null: nobody. */
  readonly #adopts: AdoptsPrompts | null;
  /** Who generates from slices of what is computed; null: nobody. */
  readonly #slices: SlicesPrompts | null;

  private constructor(model: Model, stage: HandoffStage, localDecoder: LocalDecoder | null) {
    const { tables = new LogitTables(), prompts = null } = localDecoder ?? {};
    this.model = model;
    this.#stage = stage;
    this.#tables = tables;
    this.#adopts = prompts !== null && "onComputed" in prompts ? prompts : null;
    this.#slices = prompts !== null && "open" in prompts ? prompts : null;
  }

  /** @param shapes of the decode ranks that this rank hands to */
  static async create(model: Model, shapes: readonly RankShape[], sizes?: HandoffSizes): Promise<PrefillRank> {
    return new PrefillRank(model, await HandoffStage.create(model, shapes, sizes), null);
  }

  /** One that hands nothing over, since what it computes is generated from on the same device. */
  static async createBeside(model: Model, localDecoder: LocalDecoder): Promise<PrefillRank> {
    return new PrefillRank(model, await HandoffStage.create(model, []), localDecoder);
  }

  get handoff(): HandoffCounters {
    return this.#stage.counters;
  }

  /** Begins an epoch of the unit: every prompt of the last one is gone. */
  async reset([collective]: readonly Collective[]): Promise<void> {
    this.model.device.submit();
    for (const id of [...this.#prompts.keys()]) this.close(id);
    this.#underWay = null;
    this.#tables.clear();
    this.model.cache.checkIntegrity();
    await this.#forward?.destroy();
    this.#forward = await RankForward.create(this.model, collective);
  }

  /** Takes in what a decode rank sent back. */
  receive(worker: string, frame: PeerFrame): void {
    if (frame.kind !== "ack" && frame.kind !== "rejected") throw new LatentmeshError("protocol", `A prefill rank does not take "${frame.kind}"`);
    this.#prompts.get(frame.sequence)?.handoff?.receive(worker, frame);
  }

  /** Takes in what queries will refer to. */
  tables(request: RequestOf<"tables">, payload: Uint8Array<ArrayBuffer>): void {
    this.#tables.take(request, payload);
  }

  /** Gives a prompt's blocks back; one that is not open is no error. */
  close(sequence: number): void {
    const prompt = this.#prompts.get(sequence);
    if (prompt === undefined) return;
    prompt.handoff?.close();
    if (this.#underWay?.prompt === prompt) this.#underWay = null;
    // What was recorded for it must run while its blocks are held.
    this.model.device.submit();
    this.model.cache.close(prompt.cached);
    this.#prompts.delete(sequence);
  }

  /**
   * Computes a chunk, or some of its layers, between which others may use the device. What was asked is known before decode ranks have their share of the last one:
   * {@link handed} tells when they have.
   *
   * @param onProgress told of every layer, or of what has come back of several
   * @throws {LatentmeshError} `protocol` if the chunk is not the next one, or its layers are not
   */
  async run(chunk: PromptChunk, onProgress: OnProgress = () => {}): Promise<Answers> {
    const { limits } = this.model;
    const forward = this.#forward;
    if (forward === null) throw new LatentmeshError("protocol", "This rank has not joined its unit yet");
    const { sequence: id, start, last, begin } = chunk;
    const tokens = chunk.layers.first === 0 ? chunk.tokens : this.#underWay?.tokens ?? [];
    if (tokens.length > limits.prefillRows) {
      throw new LatentmeshError("protocol", `A chunk of ${tokens.length} tokens; the most are ${limits.prefillRows}`);
    }
    if (begin !== null) this.#begin(id, start, begin);
    const prompt = this.#prompts.get(id);
    if (prompt === undefined) throw new LatentmeshError("protocol", `Prompt ${id} has not begun`);
    if (begin !== null) await this.#handCached(prompt, start, onProgress);
    const end = start + tokens.length;
    if (prompt.cached.length !== start || !this.model.cache.holds(prompt.cached, end)) {
      throw new LatentmeshError("protocol", `Prompt ${id} has ${prompt.cached.length} tokens; positions ${start} to ${end} are not next`);
    }
    this.#checkLayers(chunk, prompt);
    const answers = await this.#compute({ ...chunk, tokens }, prompt, forward, onProgress);
    if (last && this.#underWay === null && prompt.handoff === null) this.#finish(id, prompt);
    return answers;
  }

  /**
   * Begins with the next layers of a chunk that is under way, and waits for nothing; of a rank that is alone. The last layers of a prompt are not computed so, since
   * something is asked about them.
   *
   * @throws {LatentmeshError} `protocol` if those layers are not next
   */
  runBehind({ sequence, start, layers }: LayersBehind): void {
    const [prompt, forward, underWay] = [this.#prompts.get(sequence), this.#forward, this.#underWay];
    if (prompt === undefined || forward === null) throw new LatentmeshError("protocol", `Prompt ${sequence} has not begun`);
    this.#checkLayers({ sequence, start, layers }, prompt);
    const ends = layers.end === this.model.spec.layers;
    if (underWay === null || forward.collective.ranks > 1 || (ends && underWay.last)) {
      throw new LatentmeshError("protocol", `Layers ${layers.first} to ${layers.end} of prompt ${sequence} cannot be computed behind a step`);
    }
    forward.runAlone(underWay.step, layers);
    this.#underWay = ends ? null : { ...underWay, layer: layers.end };
    if (ends) prompt.cached.length += underWay.tokens.length;
  }

  /**
   * Resolves when every decode rank has acknowledged its share of a prompt whose last chunk is computed, which then is closed.
   *
   * @throws {LatentmeshError} why one of them has not; {@link WorkerError} names one that was silent
   */
  async handed(sequence: number, onProgress: OnProgress = () => {}): Promise<void> {
    const prompt = this.#prompts.get(sequence);
    if (prompt === undefined) throw new LatentmeshError("protocol", `Prompt ${sequence} has not begun`);
    await prompt.handoff?.finish(onProgress);
    this.close(sequence);
  }

  /** The logits of what was asked last: all of this rank's part of the vocabulary, with the query's changes. */
  async row(index: number): Promise<Float32Array<ArrayBuffer>> {
    const query = this.#asked?.queries[index];
    if (query === undefined) throw new LatentmeshError("protocol", `Nothing was asked as number ${index}`);
    const { head } = this.model;
    head.recordLogits("prefill", this.#asked!.row, 1);
    head.recordChanges([query]);
    return await head.logitsRow(0);
  }

  /** Nothing more of a prompt is computed here, and nothing is handed over. */
  #finish(id: number, { cached, stays }: Prompt): void {
    if (!stays) return this.close(id);
    this.#prompts.delete(id);
    this.#adopts!.onComputed(id, cached);
  }

  #begin(id: number, start: number, { length, blocks, target, stays, slices }: NonNullable<PromptChunk["begin"]>): void {
    if (this.#prompts.has(id)) throw new LatentmeshError("protocol", `Prompt ${id} has begun already`);
    if (stays && this.#adopts === null) throw new LatentmeshError("protocol", "This rank does not generate from where it computes prompts");
    if (slices != null && this.#slices === null) throw new LatentmeshError("protocol", "This rank does not generate from slices of what it computes");
    if (start % BLOCK_TOKENS !== 0) throw new LatentmeshError("protocol", `A cached prefix of ${start} tokens is not whole blocks`);
    const { cache } = this.model;
    const cached = cache.open(length);
    let take: TakeLatents | null = null;
    try {
      cache.hold(cached, blocks, start / BLOCK_TOKENS);
      if (!cache.holds(cached, start)) throw new LatentmeshError("protocol", `${blocks.length} blocks do not hold ${start} tokens`);
      if (slices != null) take = this.#slices!.open(id, slices);
    } catch (error) {
      cache.close(cached);
      throw error;
    }
    cached.length = start;
    const handoff = target === null ? null : new Handoff(this.#stage, target.ranks, { ...target, sequence: id });
    this.#prompts.set(id, { cached, handoff, take, from: target?.from ?? slices?.from ?? 0, stays });
  }

  /** Layers come in order, and a chunk is computed to its end before another is begun: its rows are where those of another would be. */
  #checkLayers({ sequence, start, layers: { first, end } }: LayersBehind, prompt: Prompt): void {
    const { layers } = this.model.spec;
    const before = this.#underWay;
    const follows = before === null ? first === 0 : before.prompt === prompt && before.start === start && before.layer === first;
    if (follows && first < end && end <= layers) return;
    const next = before === null ? "layer 0 of a chunk" : `layer ${before.layer} of ${before.tokens.length} tokens after ${before.start}`;
    throw new LatentmeshError("protocol", `Layers ${first} to ${end} of ${layers} of prompt ${sequence} are not next, but ${next}`);
  }

  /** Hands over what is cached here and not there. */
  async #handCached(prompt: Prompt, end: number, onProgress: OnProgress): Promise<void> {
    if (prompt.handoff === null && prompt.take === null) return;
    const { limits, cache } = this.model;
    for (let start = prompt.from; start < end; start += limits.prefillRows) {
      const part = { start, end: Math.min(end, start + limits.prefillRows) };
      for (let layer = 0; layer < cache.buffers.length; layer++) await this.#hand(prompt, layer, part, onProgress);
    }
  }

  async #compute(
    { tokens, start, layers, queries: frames, promptLogprobs, following, sequence: id, last, awaited }: PromptChunk,
    prompt: Prompt,
    forward: RankForward,
    onProgress: OnProgress,
  ): Promise<Answers> {
    const { head, device, clock } = this.model;
    const { cached, handoff } = prompt;
    const afterAttention = async (layer: number) => {
      // A CPU has computed the layer by now; of others it is known when something comes back.
      if (isHost(device.kind)) onProgress();
      await this.#hand(prompt, layer, { start, end: start + tokens.length }, onProgress);
      clock.lap(handoff === null ? "rest" : "handoff");
    };
    const step = this.#underWay?.step ?? { phase: "prefill", rows: tokens.map((token, i) => ({ token, position: start + i, sequence: cached })) };
    await forward.run(step, { layers, afterAttention });
    handoff?.submit(onProgress);
    if (layers.end < this.model.spec.layers) {
      invariant(this.#prompts.get(id) === prompt, "a prompt is not closed while layers of it are computed");
      this.#underWay = { prompt, start, tokens, step, last, layer: layers.end };
      device.submit();
      clock.lap("record");
      if (awaited) await this.#settle();
      return { answers: [], prompt: [] };
    }
    this.#underWay = null;
    cached.length += tokens.length;
    invariant(this.#prompts.get(id) === prompt, "a prompt is not closed while a chunk of it is computed");
    const targets = following === null ? tokens.slice(1) : [...tokens.slice(1), following];
    const lists: CandidateList[] = promptLogprobs === null ? [] : await scorePrompt(this.model, targets, promptLogprobs);
    const queries = frames.map((frame) => this.#tables.resolve(frame, new AdjustmentList()));
    this.#asked = { row: tokens.length - 1, queries };
    const answers: LogitsAnswer[] = [];
    for (const query of queries) {
      // Each choice changes the logits in its own way.
      head.recordLogits("prefill", tokens.length - 1, 1);
      const adopts = queries.length === 1 && prompt.stays ? this.#adopts : null;
      answers.push(...await head.answers([query], () => adopts?.onAsked(step, queries)));
    }
    device.submit();
    clock.lap("record");
    // Nothing else was read back: whether it ran is known when the device has settled. While its last layers come back, the next chunk can be asked for.
    if (handoff !== null && !last) {
      await handoff.sent(LAST_CUTS);
      clock.lap("handoff");
    } else if (awaited && queries.length === 0 && promptLogprobs === null && handoff === null) {
      await this.#settle();
    }
    return { answers, prompt: lists };
  }

  async #settle(): Promise<void> {
    const { device, clock } = this.model;
    await device.settle();
    clock.lap("readback");
  }

  async #hand({ handoff, take, cached, from }: Prompt, layer: number, positions: Positions, onProgress: OnProgress): Promise<void> {
    const start = Math.max(from, positions.start);
    const span = { sequence: cached, start, count: positions.end - start };
    if (start < positions.end) {
      take?.(layer, span);
      await handoff?.layer(layer, span, onProgress);
    }
    // Lets sockets send what they were given, signs of life too, and bring acknowledgements. A GPU that hands nothing over is not kept waiting for that.
    if (handoff !== null || isHost(this.model.device.kind)) await setImmediate();
  }
}
