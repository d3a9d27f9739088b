/**
 * A decode rank: holds its slice of every sequence and runs steps with the other ranks of its group.
 *
 * @module
 */
import { keptTokens } from "../../core/cache/token_share.ts";
import { LatentmeshError } from "../../core/errors.ts";
import type { LogitsAnswer } from "../../core/generation.ts";
import type { Link } from "../../core/wire/link.ts";
import type { PeerFrame, RequestOf } from "../../core/wire/messages.ts";
import type { QueryFrame, TokenRow } from "../../core/wire/queries.ts";
import { AdjustmentList } from "../forward/adjustment_list.ts";
import { BlockCopier } from "./block_copier.ts";
import type { Step, StepRow } from "../forward/context.ts";
import type { Collective } from "../collective/collective.ts";
import { IncomingPrompt } from "../handoff/handoff_receiver.ts";
import type { Span } from "../handoff/latent_exporter.ts";
import type { LatentSlicer } from "../handoff/latent_slicer.ts";
import type { CachedSequence } from "../forward/latent_cache.ts";
import { LogitTables } from "./logit_tables.ts";
import type { HeadQuery } from "../forward/logits_head.ts";
import type { Model } from "../forward/model.ts";
import type { DraftHead } from "./draft_head.ts";
import { anticipatedStep } from "./anticipated_step.ts";
import { RankForward } from "./rank.ts";

/** What a step does besides computing rows. */
export type StepChanges = Pick<RequestOf<"step">, "forks" | "grow">;

/** What a rank keeps of a prompt: where, and from which position on it is given that. */
export type KeptSlices = Pick<RequestOf<"open">, "tokens" | "from" | "blocks">;

/** A row in its lane; the query that is about it, if there is one. */
interface LaneRow {
  readonly lane: number;
  readonly query: number | null;
  readonly row: StepRow;
}

/** Sequences and steps of one rank. */
export class DecodeRank {
  readonly kind = "decode";
  /** Holds the cache. */
  readonly model: Model;
  /** With two, halves of a step run side by side: one computes while the other's sum is on the wire. */
  readonly #models: readonly Model[];
  readonly #copier: BlockCopier;
  readonly #sequences = new Map<number, IncomingPrompt>();
  /** What changes their logits. */
  readonly #adjustments = new Map<number, AdjustmentList>();
  /** Rows of drafts in each one's last step. */
  readonly #drafted = new Map<number, number>();
  readonly #tables: LogitTables;
  /** Null where nothing is drafted here. */
  readonly #draft: DraftHead | null;
  #forwards: readonly RankForward[] = [];
  /** Where the logits of each of the last queries are. */
  #asked: readonly { readonly lane: number; readonly row: number }[] = [];

  private constructor(
    models: readonly Model[],
    copier: BlockCopier,
    { tables, draft }: { readonly tables: LogitTables; readonly draft: DraftHead | null },
  ) {
    this.#draft = draft;
    this.model = models[0];
    this.#tables = tables;
    this.#models = models;
    this.#copier = copier;
  }

  /**
   * @param models one for each lane, over one cache
   * @param options.draft what drafts behind the first of them; nothing by default
   * @param options.tables which others may refer to as well
   */
  static async create(
    models: readonly Model[],
    { draft = null, tables = new LogitTables() }: { readonly draft?: DraftHead | null; readonly tables?: LogitTables } = {},
  ): Promise<DecodeRank> {
    return new DecodeRank(models, await BlockCopier.create(models[0]), { tables, draft });
  }

  /** Begins an epoch: every sequence of the last one is gone. */
  async reset(collectives: readonly Collective[]): Promise<void> {
    this.model.device.submit();
    for (const id of [...this.#sequences.keys()]) this.close(id);
    this.#tables.clear();
    this.model.cache.checkIntegrity();
    for (const forward of this.#forwards) await forward.destroy();
    this.#forwards = await Promise.all(this.#models.map((model, lane) => RankForward.create(model, collectives[lane])));
    await this.#draft?.reset(collectives[0]);
  }

  /** Makes room for a prompt. @throws {LatentmeshError} `protocol` if blocks are taken, `capacity` if there are too many sequences */
  open({ sequence, tokens, from, blocks }: KeptSlices & { readonly sequence: number }): void {
    const { blockTokens } = this.model.cache;
    if (from % blockTokens !== 0 || from > tokens) throw new LatentmeshError("protocol", `A shared prefix of ${from} tokens is not whole blocks`);
    const cached = this.#hold(sequence, blocks, { tokens, shared: from / blockTokens });
    this.#sequences.set(sequence, new IncomingPrompt(this.model, cached, { tokens, from }));
  }

  /** Throws if there is such a sequence. @throws {LatentmeshError} `protocol` */
  refuseOpen(sequence: number): void {
    if (this.#sequences.has(sequence)) throw new LatentmeshError("protocol", `Sequence ${sequence} is open already`);
  }

  /** Takes a sequence over whose prompt lies in this rank's cache already. @throws {LatentmeshError} `protocol` if its name is taken */
  adopt(sequence: number, cached: CachedSequence): void {
    this.refuseOpen(sequence);
    const { length: tokens } = cached;
    this.#sequences.set(sequence, new IncomingPrompt(this.model, cached, { tokens, from: tokens }));
  }

  /** Takes a layer's latents of a prompt that is open from whole ones on this rank's device. @throws {LatentmeshError} `protocol` if they are not next */
  slice(slicer: LatentSlicer, sequence: number, layer: number, span: Span): void {
    const prompt = this.#sequences.get(sequence);
    if (prompt === undefined) throw new LatentmeshError("protocol", `Sequence ${sequence} is not open`);
    const [begin, end] = [span.start, span.start + span.count].map((tokens) => keptTokens(this.model.cache.buffers[layer].tokens, tokens));
    if (begin < end) prompt.take(layer, [begin, end], () => slicer.record(layer, span, prompt.sequence));
  }

  /** While the device computes the last rows of a prompt that is to be adopted: says that its first step follows, unless others are decoded here. */
  anticipateFirst(prompt: Step, queries: readonly HeadQuery[]): void {
    const { head, cache } = this.model;
    const next = anticipatedStep(prompt, 1, cache.maxContext);
    if (this.#sequences.size > 0 || this.#forwards.length !== 1 || next === null) return;
    this.#forwards[0].anticipate(next, () => head.recordOutline("decode", 0, queries));
  }

  /** Gives a sequence's blocks back; one that is not open is no error. */
  close(sequence: number): void {
    const prompt = this.#sequences.get(sequence);
    if (prompt === undefined) return;
    // What was recorded for it must run while its blocks are held.
    this.model.device.submit();
    this.model.cache.close(prompt.sequence);
    this.#sequences.delete(sequence);
    this.#adjustments.delete(sequence);
    this.#drafted.delete(sequence);
  }

  /** Takes in what queries will refer to. */
  tables(request: RequestOf<"tables">, payload: Uint8Array<ArrayBuffer>): void {
    this.#tables.take(request, payload);
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

  /**
   * Runs one step; the queries are about its last rows.
   *
   * @param meanwhile called when the device works on the step, instead of saying what follows: records and submits something else. Of steps that ask for something
   * @throws {LatentmeshError} `protocol`
   */
  async step(
    rows: readonly TokenRow[],
    frames: readonly QueryFrame[],
    { forks, grow }: StepChanges,
    meanwhile?: () => void,
  ): Promise<LogitsAnswer[]> {
    const { cache, limits } = this.model;
    if (rows.length > limits.decodeRows || frames.length > Math.min(rows.length, limits.logitRows)) {
      throw new LatentmeshError("protocol", `A step of ${rows.length} rows and ${frames.length} queries; the most are ${limits.decodeRows} rows`);
    }
    if (meanwhile !== undefined && frames.length === 0) {
      throw new LatentmeshError("protocol", "Layers of a prompt behind a step that asks for nothing, and so ends when the device has settled");
    }
    if (this.#forwards.length === 0) throw new LatentmeshError("protocol", "This rank has not joined its group yet");
    for (const fork of forks) this.#fork(fork);
    for (const { sequence, blocks } of grow) cache.hold(this.#ready(sequence).sequence, blocks);
    const first = rows.length - frames.length;
    const queries = frames.map((frame, i) => {
      const { sequence } = rows[first + i];
      const adjustments = this.#adjustmentsOf(sequence);
      // The first query of a sequence is about its last token, those that follow about a draft behind it.
      const ahead = i > 0 && rows[first + i - 1].sequence === sequence;
      return ahead ? this.#tables.resolveAhead(frame, adjustments) : this.#tables.resolve(frame, adjustments);
    });
    this.#dropDrafts(rows, rows.slice(first));
    const lanes = this.#lanesOf(rows);
    const step = rows.map(({ sequence, token, position }, i): LaneRow => {
      const { sequence: cached } = this.#ready(sequence);
      if (position !== cached.length || !cache.holds(cached, position + 1)) {
        throw new LatentmeshError(
          "protocol",
          `Sequence ${sequence} has ${cached.length} tokens and ${cached.blocks.length} blocks; position ${position} is not next`,
        );
      }
      cached.length++;
      return { lane: lanes.get(sequence)!, query: i < first ? null : i - first, row: { token, position, sequence: cached } };
    });
    const answers = await Promise.all(
      this.#forwards.map((_, lane) => this.#runLane(lane, step.filter((row) => row.lane === lane), queries, meanwhile)),
    );
    const asked = step.filter(({ query }) => query !== null);
    const rank = (lane: number, query: number) => asked.filter((row) => row.lane === lane).findIndex((row) => row.query === query);
    this.#asked = asked.map(({ lane, query }) => ({ lane, row: rank(lane, query!) }));
    return this.#asked.map(({ lane, row }) => answers[lane][row]);
  }

  /**
   * Drafts the token behind each row, which a query is about. What the last step computed beside tokens that were right is forgotten.
   *
   * @throws {LatentmeshError} `protocol`
   */
  async draft(
    rows: readonly TokenRow[],
    frames: readonly QueryFrame[],
    { grow, ahead }: Pick<RequestOf<"draft">, "grow" | "ahead">,
  ): Promise<LogitsAnswer[]> {
    const { cache } = this.model;
    if (this.#draft === null) throw new LatentmeshError("protocol", "This rank has no layer that drafts");
    for (const { sequence, blocks } of grow) cache.hold(this.#ready(sequence).sequence, blocks);
    if (!ahead) this.#dropDrafts(rows, rows);
    const queries = frames.map((frame, i) => {
      const adjustments = this.#adjustmentsOf(rows[i].sequence);
      return ahead ? this.#tables.resolveAhead(frame, adjustments) : this.#tables.resolve(frame, adjustments);
    });
    this.#asked = [];
    return await this.#draft.run(rows.map((row) => ({ ...row, sequence: this.#ready(row.sequence).sequence })), queries, ahead);
  }

  /** The logits of what was asked last: all of this rank's part of the vocabulary, with the query's changes. */
  async row(index: number): Promise<Float32Array<ArrayBuffer>> {
    const asked = this.#asked[index];
    if (asked === undefined) throw new LatentmeshError("protocol", `Nothing was asked as number ${index}`);
    return await this.#models[asked.lane].head.logitsRow(asked.row);
  }

  /** Sequences in turn, all rows of each together. */
  #lanesOf(rows: readonly TokenRow[]): Map<number, number> {
    const lanes = new Map<number, number>();
    for (const { sequence } of rows) if (!lanes.has(sequence)) lanes.set(sequence, lanes.size % this.#models.length);
    return lanes;
  }

  async #runLane(lane: number, rows: readonly LaneRow[], queries: readonly HeadQuery[], meanwhile?: () => void): Promise<LogitsAnswer[]> {
    if (rows.length === 0) return [];
    const { head, device, cache, clock } = this.#models[lane];
    const forward = this.#forwards[lane];
    const step: Step = { phase: "decode", rows: rows.map(({ row }) => row) };
    const asked = rows.flatMap(({ query }) => query === null ? [] : [queries[query]]);
    const first = rows.length - asked.length;
    if (asked.length === 0) {
      await forward.run(step);
      device.submit();
      clock.lap("record");
      await device.settle();
      clock.lap("readback");
      return [];
    }
    // Lanes take turns on the device: neither knows what comes next.
    const alone = this.#forwards.length === 1;
    await forward.run(step, alone ? { followed: () => head.recordOutline("decode", first, asked) } : {});
    head.recordLogits("decode", first, asked.length);
    return await head.answers(asked, () => {
      if (meanwhile !== undefined) return meanwhile();
      const next = anticipatedStep(step, asked.length, cache.maxContext);
      if (alone && next !== null) forward.anticipate(next, () => head.recordOutline("decode", 0, asked));
    });
  }

  /**
   * Of drafts that were computed in a sequence's last step, what was not accepted is forgotten: what comes is written in its place.
   *
   * @param asked rows that something is asked about: of each sequence its last token, and a draft behind it
   */
  #dropDrafts(rows: readonly TokenRow[], asked: readonly TokenRow[]): void {
    const askedOf = Map.groupBy(asked, ({ sequence }) => sequence);
    for (const [sequence, [{ position }]] of Map.groupBy(rows, ({ sequence }) => sequence)) {
      const { sequence: cached } = this.#ready(sequence);
      if (position < cached.length && position >= cached.length - (this.#drafted.get(sequence) ?? 0)) cached.length = position;
      this.#drafted.set(sequence, (askedOf.get(sequence)?.length ?? 1) - 1);
    }
  }

  #adjustmentsOf(sequence: number): AdjustmentList {
    this.#ready(sequence);
    const known = this.#adjustments.get(sequence);
    const adjustments = known ?? new AdjustmentList();
    if (known === undefined) this.#adjustments.set(sequence, adjustments);
    return adjustments;
  }

  /** A sequence that shares the first `tokens` tokens of another, down to the middle of a block. */
  #fork({ sequence, from, tokens, blocks }: StepChanges["forks"][number]): void {
    const { sequence: origin } = this.#ready(from);
    const { blockTokens } = this.model.cache;
    const shared = Math.floor(tokens / blockTokens);
    if (tokens > origin.length) throw new LatentmeshError("protocol", `Sequence ${from} has ${origin.length} tokens, ${tokens} are to be shared`);
    const cached = this.#hold(sequence, [...origin.blocks.slice(0, shared), ...blocks], { tokens, shared });
    this.#copier.record(origin.blocks[shared], cached.blocks[shared], tokens % blockTokens);
    this.#sequences.set(sequence, new IncomingPrompt(this.model, cached, { tokens, from: tokens }));
  }

  #hold(id: number, blocks: readonly number[], { tokens, shared }: { readonly tokens: number; readonly shared: number }): CachedSequence {
    this.refuseOpen(id);
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

  #ready(sequence: number): IncomingPrompt {
    const prompt = this.#sequences.get(sequence);
    if (prompt === undefined) throw new LatentmeshError("protocol", `Sequence ${sequence} is not open`);
    if (!prompt.complete) throw new LatentmeshError("protocol", `Sequence ${sequence} has not been handed over completely`);
    return prompt;
  }
}
