/**
 * The single-process engine: one model on one device, requests served one after the other.
 *
 * @module
 */
import { setImmediate } from "node:timers/promises";
import { LatentmeshError } from "../core/errors.ts";
import type { TokenEngine, TokenEvent, TokenLogprob, TokenRequest } from "../core/engine.ts";
import { sequenceKey } from "../core/random.ts";
import { LogitAdjuster } from "../core/sampling/adjustments.ts";
import { inverseTemperature, isUnrestricted } from "../core/sampling/params.ts";
import { type Candidates, candidatesWanted, type Choice, chooseToken } from "../core/sampling/sampler.ts";
import { type CandidateList, MOST_CANDIDATES } from "../kernels/candidates/layout.ts";
import { EventQueue } from "./event_queue.ts";
import type { CachedSequence } from "./latent_cache.ts";
import type { Phase } from "./linear.ts";
import type { RowQuery } from "./logits_head.ts";
import type { Model } from "./model.ts";

/** Serves one {@link Model}. */
export class LocalTokenEngine implements TokenEngine {
  readonly #model: Model;
  #failure: LatentmeshError | null = null;
  #closed = false;
  /** Requests take turns; this is the end of the queue. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(model: Model) {
    this.#model = model;
    model.device.lost.then((error) => this.#failure = error);
  }

  get maxContext(): number {
    return this.#model.cache.maxContext;
  }

  get ready(): boolean {
    return this.#failure === null && !this.#closed;
  }

  generate(request: TokenRequest): AsyncIterable<TokenEvent> {
    // Runs ahead of its reader: a slow client must not hold the device.
    return new EventQueue<TokenEvent>(request.signal, (signal, emit) => this.#inTurn(signal, () => this.#run({ ...request, signal }, emit)));
  }

  /** Waits for requests in flight; new ones are refused. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#last;
  }

  async #inTurn(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
    const before = this.#last;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = promise;
    try {
      await before;
      this.#check(signal);
      await work();
    } finally {
      resolve();
    }
  }

  #check(signal: AbortSignal): void {
    if (this.#failure !== null) throw this.#failure;
    if (this.#closed) throw new LatentmeshError("capacity", "The engine is shutting down");
    if (signal.aborted) throw new LatentmeshError("cancelled", "The request was cancelled");
  }

  async #run(request: TokenRequest, emit: (event: TokenEvent) => void): Promise<void> {
    const { prompt, maxTokens } = request;
    if (prompt.length === 0) throw new LatentmeshError("invalid_request", "The prompt is empty", { param: "prompt" });
    if (prompt.length > this.maxContext) {
      throw new LatentmeshError("invalid_request", `The prompt has ${prompt.length} tokens; this model's context holds ${this.maxContext}`, {
        param: "prompt",
      });
    }
    const { cache } = this.#model;
    const sequence = cache.open();
    try {
      const generation = new Generation(this.#model, request, sequence);
      await generation.prefill((signal) => this.#check(signal));
      if (request.promptLogprobs !== null) emit({ kind: "prompt", logprobs: generation.promptLogprobs });
      const most = Math.min(maxTokens, this.maxContext - prompt.length);
      for (let count = 1; count <= most; count++) {
        const { token, logprob } = await generation.next();
        emit({ kind: "token", token, logprob });
        if (request.stopTokens.has(token)) return emit({ kind: "finish", reason: "stop" });
        if (count < most) generation.advance(token);
        await setImmediate(); // lets the server breathe
        this.#check(request.signal);
      }
      emit({ kind: "finish", reason: "length" });
    } finally {
      // What was recorded for a token nobody wants any more must run while its blocks are held.
      if (this.#failure === null) this.#model.device.submit();
      cache.close(sequence);
    }
  }
}

/** One request's way through the model. The logits of its next token are always recorded but not yet submitted. */
class Generation {
  readonly promptLogprobs: (TokenLogprob | null)[] = [];
  readonly #model: Model;
  readonly #request: TokenRequest;
  readonly #sequence: CachedSequence;
  readonly #adjuster: LogitAdjuster;
  readonly #key: number;

  constructor(model: Model, request: TokenRequest, sequence: CachedSequence) {
    this.#model = model;
    this.#request = request;
    this.#sequence = sequence;
    this.#adjuster = new LogitAdjuster(request.sampling, request.prompt);
    this.#key = sequenceKey(request.sampling.seed, request.choice);
  }

  /** Computes the prompt in chunks and records the logits of its last position. */
  async prefill(check: (signal: AbortSignal) => void): Promise<void> {
    const { prompt, promptLogprobs, signal } = this.#request;
    const { cache, limits, head } = this.#model;
    if (promptLogprobs !== null) this.promptLogprobs.push(null);
    for (let start = 0; start < prompt.length; start += limits.prefillRows) {
      const rows = Math.min(limits.prefillRows, prompt.length - start);
      cache.grow(this.#sequence, rows);
      this.#record("prefill", prompt.slice(start, start + rows));
      if (promptLogprobs !== null) await this.#scorePrompt(start, rows, promptLogprobs);
      this.#model.device.submit();
      if (start + rows === prompt.length) head.recordLogits("prefill", rows - 1, 1);
      await setImmediate();
      check(signal);
    }
  }

  /** Chooses the next token from the recorded logits. */
  async next(): Promise<{ token: number; logprob: TokenLogprob | null }> {
    const { logprobs, sampling } = this.#request;
    const adjustments = this.#adjuster.adjustments();
    const query: RowQuery = { key: this.#key, position: this.#sequence.length, inverseTemperature: inverseTemperature(sampling) };
    const { head } = this.#model;
    const wanted = candidatesWanted(sampling, MOST_CANDIDATES);
    const draw = isUnrestricted(sampling);
    // Reported log-probabilities are the model's own, so they are read before penalties and bias.
    const adjusted = adjustments.length > 0;
    const [plain] = logprobs !== null || !adjusted
      ? await head.candidates([query], adjusted ? Math.max(1, logprobs ?? 0) : Math.max(wanted, logprobs ?? 0), draw && !adjusted)
      : [null];
    let list = plain;
    if (adjusted) {
      head.recordAdjustments([adjustments]);
      [list] = await head.candidates([query], wanted, draw);
    }
    const choice = chooseToken(candidatesOf(list!, wanted), sampling, this.#key, query.position) ?? await this.#chooseFromRow(list!, query.position);
    if (logprobs === null) return { token: choice.token, logprob: null };
    const logit = adjusted ? this.#adjuster.original(choice.token, choice.logit) : choice.logit;
    return { token: choice.token, logprob: logprobOf(plain!, choice.token, logit, logprobs) };
  }

  /** Runs the chosen token through the model and records the logits of the next. */
  advance(token: number): void {
    this.#adjuster.add(token);
    this.#model.cache.grow(this.#sequence, 1);
    this.#record("decode", [token]);
    this.#model.head.recordLogits("decode", 0, 1);
  }

  #record(phase: Phase, tokens: readonly number[]): void {
    const first = this.#sequence.length;
    this.#model.record({ phase, rows: tokens.map((token, i) => ({ token, position: first + i, sequence: this.#sequence })) });
    this.#sequence.length += tokens.length;
  }

  /** Candidates did not reach far enough (a wide nucleus): the whole row decides. */
  async #chooseFromRow(list: CandidateList, position: number): Promise<Choice> {
    const row = await this.#model.head.logitsRow(0);
    const tokens = Uint32Array.from(row.keys()).sort((a, b) => row[b] - row[a] || a - b);
    const logits = Float32Array.from(tokens, (token) => row[token]);
    return chooseToken({ ...list, tokens, logits, complete: true }, this.#request.sampling, this.#key, position)!;
  }

  /** Log-probabilities of the tokens that follow each row of a recorded chunk. */
  async #scorePrompt(start: number, rows: number, top: number): Promise<void> {
    const { prompt } = this.#request;
    const { head, limits } = this.#model;
    const last = Math.min(rows, prompt.length - 1 - start);
    for (let first = 0; first < last; first += limits.logitRows) {
      const targets = prompt.slice(start + first + 1, start + Math.min(first + limits.logitRows, last) + 1);
      head.recordLogits("prefill", first, targets.length);
      const queries = targets.map((target): RowQuery => ({ key: 0, position: 0, inverseTemperature: 1, target }));
      const lists = await head.candidates(queries, Math.max(1, top), false);
      lists.forEach((list, i) => this.promptLogprobs.push(logprobOf(list, targets[i], list.targetLogit, top)));
    }
  }
}

function candidatesOf(list: CandidateList, wanted: number): Candidates {
  return { ...list, tokens: list.tokens.subarray(0, wanted), logits: list.logits.subarray(0, wanted), complete: false };
}

function logprobOf(list: CandidateList, token: number, logit: number, top: number): TokenLogprob {
  return {
    token,
    logprob: logit - list.logSumExp,
    top: Array.from({ length: top }, (_, i) => ({ token: list.tokens[i], logprob: list.logits[i] - list.logSumExp })),
  };
}
