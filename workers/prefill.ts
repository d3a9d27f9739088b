/**
 * A prefill rank: runs prompts through exact attention and hands their latents to decode ranks on the way.
 *
 * @module
 */
import { setImmediate } from "node:timers/promises";
import { LatentmeshError } from "../core/errors.ts";
import type { LogitsQuery } from "../core/generation.ts";
import type { CandidateList } from "../core/sampling/candidates.ts";
import type { RankShape } from "../core/tpla/partition.ts";
import type { PeerFrame } from "../core/wire/messages.ts";
import type { Answers } from "../core/wire/queries.ts";
import type { Collective } from "./collective.ts";
import { Handoff, type HandoffCounters, HandoffStage, type HandoffTarget } from "./handoff_sender.ts";
import type { CachedSequence } from "./latent_cache.ts";
import { scorePrompt } from "./local_sequence.ts";
import type { Model } from "./model.ts";
import { RankForward } from "./rank.ts";

/** One prompt. */
export interface PrefillJob {
  readonly tokens: readonly number[];
  /** Asked of the last position; null if nothing is generated. */
  readonly query: LogitsQuery | null;
  /** Candidates wanted of every other position; null: none. */
  readonly promptLogprobs: number | null;
  /** Where its latents go; null: nowhere. */
  readonly target: { readonly ranks: readonly HandoffTarget[]; readonly epoch: number; readonly sequence: number } | null;
}

/** Prompts of one rank, one after the other. */
export class PrefillRank {
  readonly model: Model;
  readonly #stage: HandoffStage;
  #forward: RankForward | null = null;
  #handoff: Handoff | null = null;
  #cancelled = false;

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

  /** Begins an epoch of the unit. */
  async reset(collective: Collective): Promise<void> {
    this.#forward?.destroy();
    this.#forward = await RankForward.create(this.model, collective);
  }

  /** Ends the prompt that is being computed. */
  cancel(): void {
    this.#cancelled = true;
  }

  /** Takes in what a decode rank sent back. */
  receive(worker: string, frame: PeerFrame): void {
    if (frame.kind !== "ack" && frame.kind !== "rejected") throw new LatentmeshError("protocol", `A prefill rank does not take "${frame.kind}"`);
    this.#handoff?.receive(worker, frame);
  }

  /** Computes a prompt; resolves when every decode rank has acknowledged its share. @throws {LatentmeshError} */
  async run(job: PrefillJob): Promise<Answers> {
    const { cache, device } = this.model;
    if (this.#forward === null) throw new LatentmeshError("protocol", "This rank has not joined its unit yet");
    this.#cancelled = false;
    this.#handoff = job.target === null ? null : new Handoff(this.#stage, job.target.ranks, job.target);
    const sequence = cache.open();
    try {
      return await this.#compute(job, sequence, this.#forward);
    } finally {
      this.#handoff = null;
      device.submit();
      cache.close(sequence);
    }
  }

  async #compute({ tokens, query, promptLogprobs }: PrefillJob, sequence: CachedSequence, forward: RankForward): Promise<Answers> {
    const { cache, limits, head, device } = this.model;
    const prompt: CandidateList[] = [];
    for (let start = 0; start < tokens.length; start += limits.prefillRows) {
      await this.#checkCancelled(forward.collective);
      const count = Math.min(limits.prefillRows, tokens.length - start);
      cache.grow(sequence, count);
      const rows = tokens.slice(start, start + count).map((token, i) => ({ token, position: start + i, sequence }));
      await forward.run({ phase: "prefill", rows }, (layer) => this.#afterAttention(layer, { sequence, start, count }));
      sequence.length += count;
      if (promptLogprobs !== null) prompt.push(...await scorePrompt(this.model, tokens, start, count, promptLogprobs));
      if (start + count === tokens.length && query !== null) head.recordLogits("prefill", count - 1, 1);
      device.submit();
    }
    const answer = query === null ? { plain: null, adjusted: null } : await head.answer(query);
    // Nothing was read back: whether it ran is known when the device has settled.
    if (query === null && promptLogprobs === null) await device.settle();
    await this.#handoff?.finish();
    return { ...answer, prompt };
  }

  async #afterAttention(layer: number, span: { sequence: CachedSequence; start: number; count: number }): Promise<void> {
    await this.#handoff?.layer(layer, span);
    // Lets sockets send what they were given and bring acknowledgements.
    await setImmediate();
  }

  /** All ranks of a unit stop at the same place, or the others would wait for one that has stopped. */
  async #checkCancelled(collective: Collective): Promise<void> {
    collective.input(1)[0] = this.#cancelled ? 1 : 0;
    const [cancelled] = await collective.allReduce(1);
    if (cancelled > 0) throw new LatentmeshError("cancelled", "The request was cancelled");
  }
}
