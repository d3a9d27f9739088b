/**
 * One generation's way through a cluster: the prompt through a prefill unit, which hands it to a decode group; then steps of the group.
 *
 * @module
 */
import type { TokenRequest } from "../core/engine.ts";
import { LatentmeshError } from "../core/errors.ts";
import type { LogitsAnswer, LogitsQuery, SequenceRunner } from "../core/generation.ts";
import type { ModelSpec } from "../core/model/spec.ts";
import { ceilDiv } from "../core/numeric.ts";
import { blockOf } from "../core/tpla/partition.ts";
import { type Answers, askOf, decodeAnswers, encodeRequestPayload, joinAnswers } from "../core/wire/queries.ts";
import type { ReplyFrame } from "../core/wire/rpc.ts";
import type { Member, Unit } from "./unit.ts";

/** Tokens of a cache block. */
export const BLOCK_TOKENS = 64;

/** Where a request is served. */
export interface Route {
  readonly prefill: Unit;
  readonly decode: Unit;
}

/** Where the time of decode steps went, in milliseconds. */
export interface StepTimes {
  /** Decode steps so far. */
  steps: number;
  /** Between exchanges, of the rank that is slowest there. */
  computeMs: number;
  /** Of each exchange, the wait of the rank that came last: the others also wait for it to compute. */
  exchangeMs: number;
  /** From request to replies, as the coordinator saw it. */
  totalMs: number;
}

/** Options of {@link ClusterSequence}. */
export interface ClusterSequenceOptions {
  readonly spec: ModelSpec;
  /** Names the sequence on the ranks. */
  readonly id: number;
  /** Milliseconds a decode step may take. */
  readonly deadlineMs: number;
  readonly times: StepTimes;
  /** Throws when the generation must end. */
  check(): void;
}

/** Computes one sequence. */
export class ClusterSequence implements SequenceRunner {
  readonly #route: Route;
  readonly #request: TokenRequest;
  readonly #options: ClusterSequenceOptions;
  /** The epoch in which it was opened. */
  readonly #epoch: number;
  readonly #blocks: number[] = [];
  #open = false;
  #position = 0;
  /** Holds the logits of the last position. */
  #last: Unit;
  /** Ends this request's turn on the prefill unit, whose logits may be asked for until the first step. */
  #releasePrefill: () => void = () => {};

  constructor(route: Route, request: TokenRequest, options: ClusterSequenceOptions) {
    this.#route = route;
    this.#request = request;
    this.#options = options;
    this.#epoch = route.decode.epoch;
    this.#last = route.prefill;
  }

  async prefill(query: LogitsQuery | null, promptLogprobs: number | null): Promise<Answers & { readonly answer: LogitsAnswer | null }> {
    const { prompt, signal } = this.#request;
    const { prefill, decode } = this.#route;
    if (query !== null) await this.#openOn(decode, prompt.length);
    this.#releasePrefill = await prefill.turns.acquire();
    this.#options.check();
    const ids = new Map<Member, number>();
    const cancel = () => {
      for (const [{ client }, target] of ids) client.call("cancel", { target }, "done").catch(() => {});
    };
    signal.addEventListener("abort", cancel, { once: true });
    try {
      const replies = await prefill.ask(
        "prefill",
        {
          epoch: prefill.epoch,
          tokens: prompt.length,
          target: query === null ? null : { group: decode.name, epoch: this.#epoch, sequence: this.#options.id },
          ask: query === null ? null : askOf(query),
          promptLogprobs,
        },
        "candidates",
        { payload: encodeRequestPayload(prompt, query?.adjustments ?? []), onId: (member, id) => ids.set(member, id) },
      );
      this.#position = prompt.length;
      const shape = { prompt: promptLogprobs === null ? 0 : prompt.length - 1, promptCandidates: promptLogprobs ?? 0 };
      const answers = this.#join(prefill, replies, query, shape, (i) => prompt[i + 1]);
      return { ...answers, answer: query === null ? null : answers };
    } finally {
      signal.removeEventListener("abort", cancel);
    }
  }

  async step(token: number, query: LogitsQuery): Promise<LogitsAnswer> {
    this.#releasePrefill();
    this.#options.check();
    const { decode } = this.#route;
    const { id: sequence, times, deadlineMs } = this.#options;
    this.#checkEpoch();
    const added = this.#grow(this.#position + 1);
    const started = performance.now();
    const replies = await decode.ask(
      "step",
      {
        epoch: this.#epoch,
        rows: [{ sequence, token, position: this.#position }],
        grow: added.length === 0 ? [] : [{ sequence, blocks: added }],
        ask: askOf(query),
      },
      "candidates",
      { payload: encodeRequestPayload([], query.adjustments), deadlineMs },
    );
    this.#position++;
    this.#last = decode;
    const answers = this.#join(decode, replies, query, { prompt: 0, promptCandidates: 0 }, () => 0);
    times.steps++;
    times.totalMs += performance.now() - started;
    const waits = replies.map(({ reply }) => reply.waitsMs);
    const exchange = waits[0].reduce((sum, _, i) => sum + Math.min(...waits.map((rank) => rank[i])), 0);
    times.exchangeMs += exchange;
    times.computeMs += Math.max(...replies.map(({ reply }) => reply.totalMs)) - exchange;
    return answers;
  }

  async row(): Promise<Float32Array> {
    const replies = await this.#last.ask("row", { epoch: this.#last.epoch }, "row");
    const row = new Float32Array(this.#options.spec.vocabSize);
    replies.forEach(({ payload }, rank) => {
      const { begin, end } = blockOf(row.length, replies.length, rank);
      if (payload.byteLength !== (end - begin) * 4) throw new LatentmeshError("protocol", `Rank ${rank} sent ${payload.byteLength} bytes of logits`);
      row.set(new Float32Array(payload.buffer, payload.byteOffset, end - begin), begin);
    });
    return row;
  }

  /** Gives everything back, on every rank that still has it. */
  async close(): Promise<void> {
    this.#releasePrefill();
    const { decode } = this.#route;
    // A new epoch has dropped every sequence of the old one.
    if (!this.#open || decode.epoch !== this.#epoch) return;
    this.#open = false;
    for (const block of this.#blocks) decode.blocks.release(block);
    await decode.ask("close", { epoch: this.#epoch, sequence: this.#options.id }, "done", { deadlineMs: this.#options.deadlineMs });
  }

  async #openOn(decode: Unit, tokens: number): Promise<void> {
    this.#checkEpoch();
    const blocks = this.#grow(tokens);
    this.#open = true;
    await decode.ask("open", { epoch: this.#epoch, sequence: this.#options.id, tokens, blocks }, "done", { deadlineMs: this.#options.deadlineMs });
  }

  /** Takes the blocks that `tokens` tokens need beyond those held. @throws {LatentmeshError} `capacity`, having taken none */
  #grow(tokens: number): number[] {
    const { blocks } = this.#route.decode;
    const missing = ceilDiv(tokens, BLOCK_TOKENS) - this.#blocks.length;
    if (missing > 0 && !blocks.canAllocate(missing)) {
      throw new LatentmeshError("capacity", `The latent cache is full (${blocks.blocks * BLOCK_TOKENS} tokens); raise cache.maxTokens`);
    }
    const added = Array.from({ length: Math.max(0, missing) }, () => blocks.allocate());
    this.#blocks.push(...added);
    return added;
  }

  #checkEpoch(): void {
    const { decode } = this.#route;
    if (decode.epoch !== this.#epoch || !decode.formed) {
      throw new LatentmeshError("worker_lost", `Decode group ${decode.name} lost a worker, and this generation with it`);
    }
  }

  #join(
    unit: Unit,
    replies: readonly ReplyFrame<"candidates">[],
    query: LogitsQuery | null,
    shape: { readonly prompt: number; readonly promptCandidates: number },
    target: (promptPosition: number) => number,
  ): Answers {
    const { vocabSize } = this.#options.spec;
    const ranks = unit.members.length;
    const ends = Array.from({ length: ranks }, (_, rank) => blockOf(vocabSize, ranks, rank).end);
    const asked = { plain: query?.plain ?? 0, adjusted: query?.adjusted ?? 0, ...shape };
    return joinAnswers(replies.map(({ payload }) => decodeAnswers(payload, asked)), (i) => ends.findIndex((end) => target(i) < end));
  }
}
