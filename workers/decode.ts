/**
 * A decode rank: holds its slice of every sequence and runs steps with the other ranks of its group.
 *
 * @module
 */
import { LatentmeshError } from "../core/errors.ts";
import type { LogitsAnswer, LogitsQuery } from "../core/generation.ts";
import type { PeerFrame, RequestOf } from "../core/wire/messages.ts";
import type { Link } from "../core/wire/link.ts";
import type { Collective } from "./collective.ts";
import { IncomingPrompt } from "./handoff_receiver.ts";
import type { Model } from "./model.ts";
import { RankForward } from "./rank.ts";

/** Sequences and steps of one rank. */
export class DecodeRank {
  readonly model: Model;
  readonly #sequences = new Map<number, IncomingPrompt>();
  #forward: RankForward | null = null;

  constructor(model: Model) {
    this.model = model;
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
  open({ sequence, tokens, blocks }: Pick<RequestOf<"open">, "sequence" | "tokens" | "blocks">): void {
    if (this.#sequences.has(sequence)) throw new LatentmeshError("protocol", `Sequence ${sequence} is open already`);
    const { cache } = this.model;
    const cached = cache.open();
    try {
      cache.hold(cached, blocks);
      if (!cache.holds(cached, tokens)) throw new LatentmeshError("protocol", `${blocks.length} blocks do not hold ${tokens} tokens`);
    } catch (error) {
      cache.close(cached);
      throw error;
    }
    this.#sequences.set(sequence, new IncomingPrompt(this.model, cached, tokens));
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

  /** Runs one step; the query is about its last row. @throws {LatentmeshError} */
  async step({ rows, grow }: Pick<RequestOf<"step">, "rows" | "grow">, query: LogitsQuery): Promise<LogitsAnswer> {
    const { head, cache } = this.model;
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
    await this.#rank().run({ phase: "decode", rows: step });
    head.recordLogits("decode", step.length - 1, 1);
    return await head.answer(query);
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
