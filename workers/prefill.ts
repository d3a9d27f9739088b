/**
 * A prefill rank: runs prompts through exact attention, piece by piece, and hands their latents to decode ranks on the way. What it has computed stays in
 * its own cache of whole latents, so that the next prompt which begins alike starts further on.
 *
 * @module
 */
import { setImmediate } from "node:timers/promises";
import { invariant, LatentmeshError } from "../core/errors.ts";
import type { LogitsAnswer } from "../core/generation.ts";
import type { CandidateList } from "../core/sampling/candidates.ts";
import type { RankShape } from "../core/tpla/partition.ts";
import type { PeerFrame, RequestOf } from "../core/wire/messages.ts";
import type { Answers, QueryFrame } from "../core/wire/queries.ts";
import { BLOCK_TOKENS } from "../kernels/latent_cache/layout.ts";
import { AdjustmentList } from "./adjustment_list.ts";
import type { Collective } from "./collective/collective.ts";
import { Handoff, type HandoffCounters, HandoffStage, type HandoffTarget } from "./handoff_sender.ts";
import type { CachedSequence } from "./latent_cache.ts";
import { scorePrompt } from "./local_sequence.ts";
import { LogitTables } from "./logit_tables.ts";
import type { HeadQuery } from "./logits_head.ts";
import type { Model } from "./model.ts";
import { RankForward } from "./rank.ts";

/** One piece of a prompt. */
export interface PrefillPiece extends Pick<RequestOf<"prefill">, "sequence" | "start" | "last" | "promptLogprobs" | "following"> {
  readonly tokens: readonly number[];
  /** Asked of the last position. */
  readonly queries: readonly QueryFrame[];
  /** Given with the first piece. */
  readonly begin: {
    /** Of the whole prompt; those before the first piece hold its beginning already. */
    readonly blocks: readonly number[];
    /** Where its latents go, from which position on; null: nowhere. */
    readonly target: { readonly ranks: readonly HandoffTarget[]; readonly epoch: number; readonly from: number } | null;
  } | null;
}

/** A prompt between its pieces. */
interface Prompt {
  readonly cached: CachedSequence;
  readonly handoff: Handoff | null;
  /** First position that is handed over. */
  readonly from: number;
}

/** Positions of a prompt, half-open. */
interface Positions {
  readonly start: number;
  readonly end: number;
}

/** Prompts of one rank, piece by piece. */
export class PrefillRank {
  readonly model: Model;
  readonly #stage: HandoffStage;
  readonly #prompts = new Map<number, Prompt>();
  #forward: RankForward | null = null;
  /** What was asked last, and of which row of the last piece. */
  #asked: { readonly row: number; readonly queries: readonly HeadQuery[] } | null = null;
  readonly #tables = new LogitTables();

  private constructor(model: Model, stage: HandoffStage) {
    this.model = model;
    this.#stage = stage;
  }

  /** @param shapes of the decode ranks that this rank hands to */
  static async create(model: Model, shapes: readonly RankShape[]): Promise<PrefillRank> {
    return new PrefillRank(model, await HandoffStage.create(model, shapes));
  }

  get handoff(): HandoffCounters {
    return this.#stage.counters;
  }

  /** Begins an epoch of the unit: every prompt of the last one is gone. */
  async reset(collective: Collective): Promise<void> {
    this.model.device.submit();
    for (const id of [...this.#prompts.keys()]) this.close(id);
    this.#tables.clear();
    this.model.cache.checkIntegrity();
    this.#forward?.destroy();
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
    // What was recorded for it must run while its blocks are held.
    this.model.device.submit();
    this.model.cache.close(prompt.cached);
    this.#prompts.delete(sequence);
  }

  /**
   * Computes a piece; the last one resolves when every decode rank has acknowledged its share.
   *
   * @returns answers, and milliseconds spent waiting for acknowledgements
   * @throws {LatentmeshError} `protocol` if the piece is not the next one
   */
  async run(piece: PrefillPiece): Promise<Answers & { readonly handoffMs: number }> {
    const { limits } = this.model;
    const forward = this.#forward;
    if (forward === null) throw new LatentmeshError("protocol", "This rank has not joined its unit yet");
    const { sequence: id, tokens, start, last, begin } = piece;
    if (tokens.length > limits.prefillRows) {
      throw new LatentmeshError("protocol", `A piece of ${tokens.length} tokens; the most are ${limits.prefillRows}`);
    }
    if (begin !== null) this.#begin(id, start, begin);
    const prompt = this.#prompts.get(id);
    if (prompt === undefined) throw new LatentmeshError("protocol", `Prompt ${id} has not begun`);
    if (begin !== null) await this.#handCached(prompt, start);
    const end = start + tokens.length;
    if (prompt.cached.length !== start || !this.model.cache.holds(prompt.cached, end)) {
      throw new LatentmeshError("protocol", `Prompt ${id} has ${prompt.cached.length} tokens; positions ${start} to ${end} are not next`);
    }
    const answers = await this.#compute(piece, prompt, forward);
    const finished = performance.now();
    if (last) {
      await prompt.handoff?.finish();
      this.model.clock.lap("handoff");
      this.close(id);
    }
    return { ...answers, handoffMs: last ? performance.now() - finished : 0 };
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

  #begin(id: number, start: number, { blocks, target }: NonNullable<PrefillPiece["begin"]>): void {
    if (this.#prompts.has(id)) throw new LatentmeshError("protocol", `Prompt ${id} has begun already`);
    if (start % BLOCK_TOKENS !== 0) throw new LatentmeshError("protocol", `A cached prefix of ${start} tokens is not whole blocks`);
    const { cache } = this.model;
    const cached = cache.open();
    try {
      cache.hold(cached, blocks, start / BLOCK_TOKENS);
      if (!cache.holds(cached, start)) throw new LatentmeshError("protocol", `${blocks.length} blocks do not hold ${start} tokens`);
    } catch (error) {
      cache.close(cached);
      throw error;
    }
    cached.length = start;
    const handoff = target === null ? null : new Handoff(this.#stage, target.ranks, { epoch: target.epoch, sequence: id });
    this.#prompts.set(id, { cached, handoff, from: target?.from ?? 0 });
  }

  /** Hands over what is cached here and not there. */
  async #handCached(prompt: Prompt, end: number): Promise<void> {
    const { limits, spec } = this.model;
    for (let start = prompt.from; start < end; start += limits.prefillRows) {
      const part = { start, end: Math.min(end, start + limits.prefillRows) };
      for (let layer = 0; layer < spec.layers; layer++) await this.#hand(prompt, layer, part);
    }
  }

  async #compute(
    { tokens, start, queries: frames, promptLogprobs, following, sequence: id }: PrefillPiece,
    prompt: Prompt,
    forward: RankForward,
  ): Promise<Answers> {
    const { head, device, clock } = this.model;
    const { cached } = prompt;
    const rows = tokens.map((token, i) => ({ token, position: start + i, sequence: cached }));
    const afterAttention = (layer: number) => this.#hand(prompt, layer, { start, end: start + tokens.length });
    await forward.run({ phase: "prefill", rows }, { afterAttention });
    cached.length += tokens.length;
    invariant(this.#prompts.get(id) === prompt, "a prompt is not closed while a piece of it is computed");
    const targets = following === null ? tokens.slice(1) : [...tokens.slice(1), following];
    const lists: CandidateList[] = promptLogprobs === null ? [] : await scorePrompt(this.model, targets, promptLogprobs);
    const queries = frames.map((frame) => this.#tables.resolve(frame, new AdjustmentList()));
    this.#asked = { row: tokens.length - 1, queries };
    const answers: LogitsAnswer[] = [];
    for (const query of queries) {
      // Each choice changes the logits in its own way.
      head.recordLogits("prefill", tokens.length - 1, 1);
      answers.push(...await head.answers([query]));
    }
    device.submit();
    clock.lap("record");
    await prompt.handoff?.flush();
    clock.lap("handoff");
    // Nothing was read back: whether it ran is known when the device has settled.
    if (queries.length === 0 && promptLogprobs === null && prompt.handoff === null) {
      await device.settle();
      clock.lap("readback");
    }
    return { answers, prompt: lists };
  }

  async #hand({ handoff, cached, from }: Prompt, layer: number, positions: Positions): Promise<void> {
    const start = Math.max(from, positions.start);
    if (handoff !== null && start < positions.end) await handoff.layer(layer, { sequence: cached, start, count: positions.end - start });
    // Lets sockets send what they were given and bring acknowledgements.
    await setImmediate();
  }
}
