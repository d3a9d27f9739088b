/**
 * A decode rank: holds its slice of every sequence and runs steps with the other ranks of its group.
 *
 * @module
 */
import { LatentmeshError } from "../core/errors.ts";
import type { LogitsAnswer, LogitsQuery } from "../core/generation.ts";
import type { Link } from "../core/wire/link.ts";
import type { PeerFrame, RequestOf } from "../core/wire/messages.ts";
import type { TokenRow } from "../core/wire/queries.ts";
import { BLOCK_TOKENS } from "../kernels/latent_cache/layout.ts";
import { BlockCopier } from "./block_copier.ts";
import type { Collective } from "./collective.ts";
import { IncomingPrompt } from "./handoff_receiver.ts";
import type { CachedSequence } from "./latent_cache.ts";
import type { Model } from "./model.ts";
import { RankForward } from "./rank.ts";

/** What a step does besides computing rows. */
export type StepChanges = Pick<RequestOf<"step">, "forks" | "grow">;

/** Sequences and steps of one rank. */
export class DecodeRank {
  readonly model: Model;
  readonly #copier: BlockCopier;
  readonly #sequences = new Map<number, IncomingPrompt>();
  #forward: RankForward | null = null;

  private constructor(model: Model, copier: BlockCopier) {
    this.model = model;
    this.#copier = copier;
  }

  static async create(model: Model): Promise<DecodeRank> {
    return new DecodeRank(model, await BlockCopier.create(model));
  }

  /** Begins an epoch: every sequence of the last one is gone. */
  async reset(collective: Collective): Promise<void> {
    this.model.device.submit();
    for (const id of [...this.#sequences.keys()]) this.close(id);
    this.model.cache.checkIntegrity();
    this.#forward?.destroy();
    this.#forward = await RankForward.create(this.model, collective);
  }

  /** Makes room for a prompt. @throws {LatentmeshError} `protocol` if blocks are taken, `capacity` if there are too many sequences */
  open({ sequence, tokens, from, blocks }: Pick<RequestOf<"open">, "sequence" | "tokens" | "from" | "blocks">): void {
    if (from % BLOCK_TOKENS !== 0 || from > tokens) throw new LatentmeshError("protocol", `A shared prefix of ${from} tokens is not whole blocks`);
    const cached = this.#hold(sequence, blocks, { tokens, shared: from / BLOCK_TOKENS });
    this.#sequences.set(sequence, new IncomingPrompt(this.model, cached, { tokens, from }));
  }

  /** Gives a sequence's blocks back; one that is not open is no error. */
  close(sequence: number): void {
    const prompt = this.#sequences.get(sequence);
    if (prompt === undefined) return;
    // What was recorded for it must run while its blocks are held.
    this.model.device.submit();
    this.model.cache.close(prompt.sequence);
    this.#sequences.delete(sequence);
  }

  /** Takes latents in and acknowledges them; latents of a sequence that has ended meanwhile are turned back. */
  receive(frame: PeerFrame, payload: Uint8Array<ArrayBuffer>, link: Link, epoch: number): void {
    if (frame.kind !== "latents") throw new LatentmeshError("protocol", `A decode rank does not take "${frame.kind}"`);
    const { sequence } = frame;
    const reject = (message: string) => link.send({ kind: "rejected", epoch: frame.epoch, sequence, message } satisfies PeerFrame);
    if (frame.epoch !== epoch) return reject(`epoch ${frame.epoch} is over, this is epoch ${epoch}`);
    const prompt = this.#sequences.get(sequence);
    if (prompt === undefined) return reject(`sequence ${sequence} is not open`);
    prompt.receive(frame, payload);
    link.send({ kind: "ack", epoch, sequence, bytes: payload.byteLength } satisfies PeerFrame);
  }

  /** Runs one step; the queries are about its last rows. @throws {LatentmeshError} */
  async step(rows: readonly TokenRow[], queries: readonly LogitsQuery[], { forks, grow }: StepChanges): Promise<LogitsAnswer[]> {
    const { head, cache, limits } = this.model;
    if (rows.length > limits.decodeRows || queries.length > Math.min(rows.length, limits.logitRows)) {
      throw new LatentmeshError("protocol", `A step of ${rows.length} rows and ${queries.length} queries; the most are ${limits.decodeRows} rows`);
    }
    const forward = this.#rank();
    for (const fork of forks) this.#fork(fork);
    for (const { sequence, blocks } of grow) cache.hold(this.#ready(sequence).sequence, blocks);
    const step = rows.map(({ sequence, token, position }) => {
      const { sequence: cached } = this.#ready(sequence);
      if (position !== cached.length || !cache.holds(cached, position + 1)) {
        throw new LatentmeshError(
          "protocol",
          `Sequence ${sequence} has ${cached.length} tokens and ${cached.blocks.length} blocks; position ${position} is not next`,
        );
      }
      cached.length++;
      return { token, position, sequence: cached };
    });
    await forward.run({ phase: "decode", rows: step });
    if (queries.length === 0) {
      await this.model.device.settle();
      return [];
    }
    head.recordLogits("decode", rows.length - queries.length, queries.length);
    return await head.answers(queries);
  }

  /** A sequence that shares the first `tokens` tokens of another, down to the middle of a block. */
  #fork({ sequence, from, tokens, blocks }: StepChanges["forks"][number]): void {
    const { sequence: origin } = this.#ready(from);
    const shared = Math.floor(tokens / BLOCK_TOKENS);
    if (tokens > origin.length) throw new LatentmeshError("protocol", `Sequence ${from} has ${origin.length} tokens, ${tokens} are to be shared`);
    const cached = this.#hold(sequence, blocks, { tokens, shared });
    this.#copier.record(origin.blocks[shared], cached.blocks[shared], tokens % BLOCK_TOKENS);
    this.#sequences.set(sequence, new IncomingPrompt(this.model, cached, { tokens, from: tokens }));
  }

  #hold(id: number, blocks: readonly number[], { tokens, shared }: { readonly tokens: number; readonly shared: number }): CachedSequence {
    if (this.#sequences.has(id)) throw new LatentmeshError("protocol", `Sequence ${id} is open already`);
    const { cache } = this.model;
    const cached = cache.open();
    try {
      cache.hold(cached, blocks, shared);
      if (!cache.holds(cached, tokens)) throw new LatentmeshError("protocol", `${blocks.length} blocks do not hold ${tokens} tokens`);
      return cached;
    } catch (error) {
      cache.close(cached);
      throw error;
    }
  }

  #rank(): RankForward {
    if (this.#forward === null) throw new LatentmeshError("protocol", "This rank has not joined its group yet");
    return this.#forward;
  }

  #ready(sequence: number): IncomingPrompt {
    const prompt = this.#sequences.get(sequence);
    if (prompt === undefined) throw new LatentmeshError("protocol", `Sequence ${sequence} is not open`);
    if (!prompt.complete) throw new LatentmeshError("protocol", `Sequence ${sequence} has not been handed over completely`);
    return prompt;
  }
}
