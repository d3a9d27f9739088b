/**
 * One generation, token by token, over whatever computes it: a model in this process, or a cluster.
 *
 * @module
 */
import type { TokenEvent, TokenLogprob, TokenRequest } from "./engine.ts";
import { LatentmeshError } from "./errors.ts";
import { sequenceKey } from "./random.ts";
import { type Adjustment, LogitAdjuster } from "./sampling/adjustments.ts";
import { type CandidateList, MOST_CANDIDATES } from "./sampling/candidates.ts";
import { inverseTemperature, isUnrestricted } from "./sampling/params.ts";
import { type Candidates, candidatesWanted, type Choice, chooseToken } from "./sampling/sampler.ts";

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
  readonly adjustments: readonly Adjustment[];
  /** Whether a token is drawn from the whole vocabulary, of the adjusted logits if there are any. */
  readonly draw: boolean;
}

/** The answer to a {@link LogitsQuery}. */
export interface LogitsAnswer {
  readonly plain: CandidateList | null;
  readonly adjusted: CandidateList | null;
}

/** Computes one sequence. */
export interface SequenceRunner {
  /**
   * Computes the prompt.
   *
   * @param query asked of its last position; null if nothing is generated
   * @param promptLogprobs candidates wanted at every prompt position but the last, whose target is the token that follows; null: none
   */
  prefill(
    query: LogitsQuery | null,
    promptLogprobs: number | null,
  ): Promise<{ readonly answer: LogitsAnswer | null; readonly prompt: readonly CandidateList[] }>;
  /** Computes one generated token. */
  step(token: number, query: LogitsQuery): Promise<LogitsAnswer>;
  /** All logits of the last position, adjusted if the query asked for it: [vocabulary]. */
  row(): Promise<Float32Array>;
}

/**
 * Checks that a request fits a context.
 *
 * @throws {LatentmeshError} `invalid_request`
 */
export function checkRequest({ prompt }: TokenRequest, maxContext: number): void {
  if (prompt.length === 0) throw new LatentmeshError("invalid_request", "The prompt is empty", { param: "prompt" });
  if (prompt.length > maxContext) {
    throw new LatentmeshError("invalid_request", `The prompt has ${prompt.length} tokens; this model's context holds ${maxContext}`, {
      param: "prompt",
    });
  }
}

/** Runs a checked request to its end. */
export async function runGeneration(
  request: TokenRequest,
  runner: SequenceRunner,
  { maxContext }: { readonly maxContext: number },
  emit: (event: TokenEvent) => void,
): Promise<void> {
  const { prompt, promptLogprobs, stopTokens } = request;
  const chooser = new TokenChooser(request, runner);
  const most = Math.min(request.maxTokens, maxContext - prompt.length);
  const top = promptLogprobs === null ? null : Math.max(1, promptLogprobs);
  const first = await runner.prefill(most === 0 ? null : chooser.query(prompt.length), top);
  if (promptLogprobs !== null) {
    emit({ kind: "prompt", logprobs: [null, ...first.prompt.map((list, i) => logprobOf(list, prompt[i + 1], list.targetLogit, promptLogprobs))] });
  }
  let answer = first.answer;
  for (let count = 1; count <= most; count++) {
    const position = prompt.length + count - 1;
    const { token, logprob } = await chooser.choose(answer!, position);
    emit({ kind: "token", token, logprob });
    if (stopTokens.has(token)) return emit({ kind: "finish", reason: "stop" });
    if (count < most) answer = await runner.step(token, chooser.query(position + 1));
  }
  emit({ kind: "finish", reason: "length" });
}

/** Chooses one sequence's tokens. */
class TokenChooser {
  readonly #request: TokenRequest;
  readonly #runner: SequenceRunner;
  readonly #adjuster: LogitAdjuster;
  readonly #key: number;

  constructor(request: TokenRequest, runner: SequenceRunner) {
    this.#request = request;
    this.#runner = runner;
    this.#adjuster = new LogitAdjuster(request.sampling, request.prompt);
    this.#key = sequenceKey(request.sampling.seed, request.choice);
  }

  /** What must be known to choose the token at `position`. */
  query(position: number): LogitsQuery {
    const { logprobs, sampling } = this.#request;
    const adjustments = this.#adjuster.adjustments();
    const adjusted = adjustments.length > 0;
    const wanted = candidatesWanted(sampling, MOST_CANDIDATES);
    // Reported log-probabilities are the model's own, so they are read before penalties and bias.
    const reported = logprobs === null ? 0 : Math.max(1, logprobs);
    return {
      key: this.#key,
      position,
      inverseTemperature: inverseTemperature(sampling),
      plain: adjusted ? reported : Math.max(wanted, reported),
      adjusted: adjusted ? wanted : 0,
      adjustments,
      draw: isUnrestricted(sampling),
    };
  }

  /** Chooses the token at `position` and counts it. */
  async choose(answer: LogitsAnswer, position: number): Promise<{ token: number; logprob: TokenLogprob | null }> {
    const { logprobs, sampling } = this.#request;
    const list = answer.adjusted ?? answer.plain!;
    const known = candidatesOf(list, candidatesWanted(sampling, MOST_CANDIDATES));
    const choice = chooseToken(known, sampling, this.#key, position) ?? await this.#chooseFromRow(list, position);
    const logit = answer.adjusted === null ? choice.logit : this.#adjuster.original(choice.token, choice.logit);
    this.#adjuster.add(choice.token);
    return { token: choice.token, logprob: logprobs === null ? null : logprobOf(answer.plain!, choice.token, logit, logprobs) };
  }

  /** Candidates did not reach far enough (a wide nucleus): the whole row decides. */
  async #chooseFromRow(list: CandidateList, position: number): Promise<Choice> {
    const row = await this.#runner.row();
    const tokens = Uint32Array.from(row.keys()).sort((a, b) => row[b] - row[a] || a - b);
    const logits = Float32Array.from(tokens, (token) => row[token]);
    return chooseToken({ ...list, tokens, logits, complete: true }, this.#request.sampling, this.#key, position)!;
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
