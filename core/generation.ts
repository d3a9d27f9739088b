/**
 * One generation, token by token, over whatever computes it: a model in this process, or a cluster.
 *
 * @module
 */
import { contextLimit, type ContextLimits } from "./context_limit.ts";
import type { TokenEvent, TokenLogprob, TokenRequest } from "./engine.ts";
import { LatentmeshError } from "./errors.ts";
import { sequenceKey } from "./random.ts";
import { type Adjustment, type Adjustments, LogitAdjuster } from "./sampling/adjustments.ts";
import { topTokens } from "./sampling/top_tokens.ts";
import { type CandidateList, firstCandidates, MOST_CANDIDATES } from "./sampling/candidates.ts";
import { inverseTemperature } from "./sampling/params.ts";
import type { HeadToken } from "./speculation/draft_source.ts";
import { type Candidates, candidatesWanted, drawsFromAll, type SampledToken, sampleToken } from "./sampling/sampler.ts";

/** What is wanted of the logits of one position. */
export interface LogitsQuery {
  /** Noise key and position of the token being drawn. */
  readonly key: number;
  readonly position: number;
  readonly inverseTemperature: number;
  /** Candidates of the model's own logits; 0: none. */
  readonly plain: number;
  /** Candidates of the adjusted logits; 0: none. */
  readonly adjusted: number;
  /** Penalties and bias. The same object every time while a sequence is generated. */
  readonly adjustments: Adjustments;
  /** Which tokens a grammar allows, one bit each; null: all. It is not changed after it was given. */
  readonly mask: Uint32Array | null;
  /** Whether a token is drawn from the whole vocabulary, of the adjusted logits if there are any. */
  readonly draw: boolean;
}

/** The answer to a {@link LogitsQuery}. */
export interface LogitsAnswer {
  readonly plain: CandidateList | null;
  readonly adjusted: CandidateList | null;
}

/** What is asked of a position behind tokens that are not chosen yet. */
export interface AheadQuery {
  readonly query: LogitsQuery;
  /** What those tokens change of the query's adjustments. */
  readonly changes: readonly Adjustment[];
}

/** Whether what is asked behind tokens that are not chosen yet can be told: of a constraint that tells no masks in advance it cannot. */
export function knowsAhead({ constraint }: TokenRequest): boolean {
  return constraint === undefined || constraint.maskBehind !== undefined;
}

/**
 * Checks that a request fits a context.
 *
 * @throws {LatentmeshError} `invalid_request`
 */
export function checkRequest({ prompt }: TokenRequest, limits: ContextLimits): void {
  if (prompt.length === 0) throw new LatentmeshError("invalid_request", "The prompt is empty", { param: "prompt" });
  if (prompt.length > limits.maxContext) {
    const problem = `The prompt has ${prompt.length} tokens; ${contextLimit(prompt.length, limits)}`;
    throw new LatentmeshError("invalid_request", problem, { param: "prompt" });
  }
}

/** How many tokens a request may generate: fewer than it asks for where the context ends. */
export function mostTokens({ prompt, maxTokens }: TokenRequest, maxContext: number): number {
  return Math.min(maxTokens, maxContext - prompt.length);
}

/** The log-probabilities of a prompt, from the lists of all its positions but the last. */
export function promptEvent({ prompt, promptLogprobs }: TokenRequest, lists: readonly CandidateList[]): TokenEvent {
  return { kind: "prompt", logprobs: [null, ...lists.map((list, i) => logprobOf(list, prompt[i + 1], list.targetLogit, promptLogprobs!))] };
}

/** A token that was chosen. */
export interface ChosenToken {
  readonly token: number;
  readonly logprob: TokenLogprob | null;
}

/** What is to be done where a row of logits is NaN. */
const NO_NUMBERS = "The model's logits are not numbers (NaN): its weights hold such values, or sums are beyond what the device computes with. " +
  "Look whether the checkpoint is whole (`deno task pull --verify` for models of the hub), and whether --device wasm says the same";

/** How many times as many candidates are looked at where some do not suffice. */
const MORE = 16;

/** Chooses one sequence's tokens. Knows how many it has chosen, so that a sequence can be computed again elsewhere and go on. */
export class TokenChooser {
  readonly #request: TokenRequest;
  readonly #adjuster: LogitAdjuster;
  readonly #key: number;
  #chosen = 0;

  constructor(request: TokenRequest) {
    this.#request = request;
    this.#adjuster = new LogitAdjuster(request.sampling, request.prompt);
    this.#key = sequenceKey(request.sampling.seed, request.choice);
    for (const token of request.resumed ?? []) this.#take(token);
  }

  /** What must be known to choose the next token. */
  query(): LogitsQuery {
    return this.#query(this.#position, this.#request.constraint?.mask ?? null, !this.#adjuster.empty);
  }

  /** What must be known to choose the token behind `drafted`, if those are chosen next; of a request that {@link knowsAhead}. */
  queryBehind(drafted: readonly number[]): AheadQuery {
    const mask = this.#request.constraint?.maskBehind?.(drafted) ?? null;
    const changes = this.#adjuster.after(drafted);
    return { query: this.#query(this.#position + drafted.length, mask, !this.#adjuster.empty || changes.length > 0), changes };
  }

  #query(position: number, mask: Uint32Array | null, changed: boolean): LogitsQuery {
    const { logprobs, sampling } = this.#request;
    const adjusted = changed || mask !== null;
    const wanted = candidatesWanted(sampling, MOST_CANDIDATES);
    // Reported log-probabilities are the model's own, so they are read before penalties and bias.
    const reported = logprobs === null ? 0 : Math.max(1, logprobs);
    return {
      key: this.#key,
      position,
      inverseTemperature: inverseTemperature(sampling),
      plain: adjusted ? reported : Math.max(wanted, reported),
      adjusted: adjusted ? wanted : 0,
      adjustments: this.#adjuster,
      mask,
      draw: drawsFromAll(sampling, MOST_CANDIDATES),
    };
  }

  /**
   * The token that would be chosen behind some that are not chosen yet, were these its logits; null where the candidates do not reach far enough.
   *
   * @param behind how many
   */
  guess(answer: LogitsAnswer, behind: number): HeadToken | null {
    const { sampling } = this.#request;
    const list = answer.adjusted ?? answer.plain!;
    const choice = sampleToken(candidatesOf(list, candidatesWanted(sampling, MOST_CANDIDATES)), sampling, this.#key, this.#position + behind);
    return choice === null ? null : { token: choice.token, probability: Math.exp(choice.logit - list.logSumExp) };
  }

  /**
   * Chooses the next token and counts it; null where the candidates do not reach far enough (a wide nucleus) and the whole row must decide.
   *
   * @throws {LatentmeshError} `internal` if logits are NaN
   */
  choose(answer: LogitsAnswer): ChosenToken | null {
    const { sampling } = this.#request;
    const list = answer.adjusted ?? answer.plain!;
    // Devices that look for the largest pass NaN over, and find nothing: the logarithm of 0.
    if (!Number.isFinite(list.logSumExp)) throw new LatentmeshError("internal", NO_NUMBERS);
    const choice = sampleToken(candidatesOf(list, candidatesWanted(sampling, MOST_CANDIDATES)), sampling, this.#key, this.#position);
    return choice === null ? null : this.#count(choice, answer);
  }

  /** @param row all logits, adjusted if the query asked for it: [vocabulary] */
  chooseFromRow(answer: LogitsAnswer, row: Float32Array): ChosenToken {
    const list = answer.adjusted ?? answer.plain!;
    let choice: SampledToken | null = null;
    for (let count = MOST_CANDIDATES * MORE; choice === null; count *= MORE) {
      const tokens = topTokens(row, count);
      const logits = Float32Array.from(tokens, (token) => row[token]);
      const candidates = { ...list, tokens, logits, complete: count >= row.length };
      choice = sampleToken(candidates, this.#request.sampling, this.#key, this.#position);
    }
    return this.#count(choice, answer);
  }

  /** Position of the token to be chosen. */
  get #position(): number {
    return this.#request.prompt.length + this.#chosen;
  }

  #take(token: number): void {
    this.#adjuster.add(token);
    // What ends the answer is not part of it.
    if (!this.#request.stopTokens.has(token)) this.#request.constraint?.accept(token);
    this.#chosen++;
  }

  #count({ token, logit }: SampledToken, answer: LogitsAnswer): ChosenToken {
    const { logprobs } = this.#request;
    const own = answer.adjusted === null ? logit : this.#adjuster.original(token, logit);
    this.#take(token);
    return { token, logprob: logprobs === null ? null : logprobOf(answer.plain!, token, own, logprobs) };
  }
}

function candidatesOf(list: CandidateList, wanted: number): Candidates {
  return { ...firstCandidates(list, wanted), complete: false };
}

function logprobOf(list: CandidateList, token: number, logit: number, top: number): TokenLogprob {
  return {
    token,
    logprob: logit - list.logSumExp,
    top: Array.from({ length: top }, (_, i) => ({ token: list.tokens[i], logprob: list.logits[i] - list.logSumExp })),
  };
}
