/**
 * Picks tokens from candidates. Drawing is always Gumbel-max: arg-max of logit / temperature + noise over the tokens that are allowed. The noise depends
 * only on (seed, position, token), so devices, ranks and replays pick the same token.
 *
 * @module
 */
import { gumbel } from "../random.ts";
import { inverseTemperature, isGreedy, isUnrestricted, type SamplingParams } from "./params.ts";

/** What a device tells about one row of (adjusted) logits. */
export interface Candidates {
  /** ln Σ exp(logit / temperature) over the whole vocabulary. */
  readonly temperedLogSumExp: number;
  /** Gumbel-max over the whole vocabulary, if it was asked for, and the winner's logit / temperature + noise. */
  readonly drawnToken: number;
  readonly drawnScore: number;
  /** Best tokens, descending. */
  readonly tokens: ArrayLike<number>;
  readonly logits: ArrayLike<number>;
  /** Whether the list holds the whole vocabulary. */
  readonly complete: boolean;
}

/** A chosen token with its (adjusted) logit. */
export interface SampledToken {
  readonly token: number;
  readonly logit: number;
}

/** Candidates that {@link sampleToken} will want to see for these parameters. */
export function candidatesWanted(params: SamplingParams, most: number): number {
  if (isGreedy(params) || isUnrestricted(params)) return 1;
  return params.topK > 0 ? Math.min(params.topK, most) : most;
}

/**
 * Chooses the next token.
 *
 * @param key noise key of the sequence, see `sequenceKey`
 * @param position position of the token being drawn
 * @returns null if the candidates do not reach far enough to decide; ask again with more of them, or the whole row
 */
export function sampleToken(candidates: Candidates, params: SamplingParams, key: number, position: number): SampledToken | null {
  if (isGreedy(params)) return { token: candidates.tokens[0], logit: candidates.logits[0] };
  const scale = inverseTemperature(params);
  const noise = gumbel(key, position, candidates.drawnToken);
  // Taking the noise out again costs some bits: where the token is listed, its logit is.
  const listed = Array.prototype.indexOf.call(candidates.tokens, candidates.drawnToken);
  const drawn = { token: candidates.drawnToken, logit: listed < 0 ? (candidates.drawnScore - noise) / scale : candidates.logits[listed] };
  if (isUnrestricted(params) && !candidates.complete) return drawn;
  const allowed = allowedCount(candidates, params, scale);
  if (allowed === null) return isDrawnAllowed(candidates, params, scale, drawn.logit) ? drawn : null;
  let best = 0;
  let bestScore = -Infinity;
  for (let i = 0; i < allowed; i++) {
    const score = candidates.logits[i] * scale + gumbel(key, position, candidates.tokens[i]);
    if (score > bestScore) [best, bestScore] = [i, score];
  }
  return { token: candidates.tokens[best], logit: candidates.logits[best] };
}

/** Whether the winner among all tokens is needed: always, unless the candidates are all that may be drawn. */
export function drawsFromAll(params: SamplingParams, most: number): boolean {
  return params.temperature > 0 && (params.topK === 0 || params.topK > most);
}

/** Whether the winner among all tokens is certainly one of those that are left, however far they reach: then it has won among them. */
function isDrawnAllowed(candidates: Candidates, params: SamplingParams, scale: number, drawnLogit: number): boolean {
  const { topK, topP, minP } = params;
  const { logits, temperedLogSumExp } = candidates;
  const probability = (logit: number) => Math.exp(logit * scale - temperedLogSumExp);
  const least = minP * probability(logits[0]);
  const at = Array.prototype.indexOf.call(candidates.tokens, candidates.drawnToken);
  // Of a token that is not in the list it is not known how many are better.
  if (at < 0) return topK === 0 && topP >= 1 && probability(drawnLogit) >= least;
  if ((topK > 0 && at >= topK) || probability(logits[at]) < least) return false;
  if (topP >= 1) return true;
  let before = 0;
  let shown = 0;
  for (let i = 0; i < logits.length && (topK === 0 || i < topK) && probability(logits[i]) >= least; i++) {
    if (i < at) before += probability(logits[i]);
    shown += probability(logits[i]);
  }
  // Top-p is of the mass that the others leave: at least what is shown of it.
  return before < topP * (topK === 0 && minP === 0 ? 1 : shown);
}

/** How many of the sorted candidates top-k, min-p and top-p leave, in that order, each over what the one before left; null if that cannot be told. */
function allowedCount(candidates: Candidates, params: SamplingParams, scale: number): number | null {
  const { logits, complete } = candidates;
  const probability = (i: number) => Math.exp(logits[i] * scale - candidates.temperedLogSumExp);
  let count = logits.length;
  let exhaustive = complete;
  if (params.topK > 0 && params.topK <= count) {
    count = params.topK;
    exhaustive = true;
  }
  if (params.minP > 0) {
    const least = params.minP * probability(0);
    let kept = 1;
    while (kept < count && probability(kept) >= least) kept++;
    if (kept < count) exhaustive = true;
    count = kept;
  }
  const everything = params.topK === 0 && params.minP === 0;
  if (!exhaustive && !(everything && params.topP < 1)) return null;
  if (params.topP >= 1) return count;
  let mass = 1;
  if (!everything) {
    mass = 0;
    for (let i = 0; i < count; i++) mass += probability(i);
  }
  let sum = 0;
  for (let i = 0; i < count; i++) {
    sum += probability(i);
    if (sum >= params.topP * mass) return i + 1;
  }
  return exhaustive ? count : null;
}
