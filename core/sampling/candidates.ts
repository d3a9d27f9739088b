/**
 * Lists of candidates: what devices and ranks tell about one position's logits, instead of all of them.
 *
 * @module
 */

/** Most candidates of a list. */
export const MOST_CANDIDATES = 64;

/** Words of a list before its (token, logit) pairs. */
export const LIST_HEADER = 8;

/** 32-bit words of one list, as devices write them and as they travel. */
export const LIST_WORDS = LIST_HEADER + 2 * MOST_CANDIDATES;

/** What one row of logits comes to. */
export interface CandidateList {
  /** ln Σ exp(logit) over the whole vocabulary. */
  readonly logSumExp: number;
  /** ln Σ exp(logit / temperature). */
  readonly temperedLogSumExp: number;
  /** arg-max of logit / temperature + noise. */
  readonly drawnToken: number;
  readonly drawnScore: number;
  /** Logit of the row's target token. */
  readonly targetLogit: number;
  /** The best tokens, descending; of equal logits the lower token first. */
  readonly tokens: Uint32Array;
  readonly logits: Float32Array;
}

/** Words of a list that holds `count` candidates and no more. */
export function listWords(count: number): number {
  return LIST_HEADER + 2 * count;
}

/** Reads the first `count` candidates of list `index` of `bytes`; lists are {@link LIST_WORDS} apart. */
export function readCandidates(bytes: Uint8Array<ArrayBuffer>, index: number, count: number): CandidateList {
  const at = bytes.byteOffset + index * LIST_WORDS * 4;
  const words = new Uint32Array(bytes.buffer, at, listWords(count));
  const floats = new Float32Array(bytes.buffer, at, listWords(count));
  const tokens = new Uint32Array(count);
  const logits = new Float32Array(count);
  for (let k = 0; k < count; k++) {
    tokens[k] = words[LIST_HEADER + 2 * k];
    logits[k] = floats[LIST_HEADER + 2 * k + 1];
  }
  return {
    logSumExp: floats[0],
    temperedLogSumExp: floats[1],
    drawnToken: words[2],
    drawnScore: floats[3],
    targetLogit: floats[4],
    tokens,
    logits,
  };
}

/** Writes a list into the words that {@link readCandidates} reads. */
export function writeCandidates(words: Uint32Array<ArrayBuffer>, list: CandidateList): void {
  const floats = new Float32Array(words.buffer, words.byteOffset, words.length);
  floats[0] = list.logSumExp;
  floats[1] = list.temperedLogSumExp;
  words[2] = list.drawnToken;
  floats[3] = list.drawnScore;
  floats[4] = list.targetLogit;
  for (let k = 0; k < list.tokens.length; k++) {
    words[LIST_HEADER + 2 * k] = list.tokens[k];
    floats[LIST_HEADER + 2 * k + 1] = list.logits[k];
  }
}

/**
 * Joins the lists of ranks that each hold part of the vocabulary. Exact: sums of exponentials add up, and the best of all are among the best of each.
 *
 * @param lists in rank order, so that every caller adds in the same order
 * @param targetOwner rank whose rows hold the target token
 */
export function joinCandidates(lists: readonly CandidateList[], targetOwner = 0): CandidateList {
  if (lists.length === 1) return lists[0];
  const count = lists[0].tokens.length;
  const pairs = lists.flatMap(({ tokens, logits }) => Array.from(tokens, (token, k) => ({ token, logit: logits[k] })))
    .sort((a, b) => b.logit - a.logit || a.token - b.token).slice(0, count);
  const drawn = lists.reduce((best, list) => list.drawnScore > best.drawnScore ? list : best);
  return {
    logSumExp: addExponentials(lists.map((list) => list.logSumExp)),
    temperedLogSumExp: addExponentials(lists.map((list) => list.temperedLogSumExp)),
    drawnToken: drawn.drawnToken,
    drawnScore: drawn.drawnScore,
    targetLogit: lists[targetOwner].targetLogit,
    tokens: Uint32Array.from(pairs, ({ token }) => token),
    logits: Float32Array.from(pairs, ({ logit }) => logit),
  };
}

/** ln Σ exp(x) */
function addExponentials(values: readonly number[]): number {
  const largest = Math.max(...values);
  return largest + Math.log(values.reduce((sum, value) => sum + Math.exp(value - largest), 0));
}
