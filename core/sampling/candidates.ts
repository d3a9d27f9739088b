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
  readonly tokens: readonly number[];
  readonly logits: readonly number[];
}

/** Words of a list that holds `count` candidates and no more. */
export function listWords(count: number): number {
  return LIST_HEADER + 2 * count;
}

/** Reads the first `count` candidates of list `index` of `bytes`; lists are {@link LIST_WORDS} apart. */
export function readCandidates(bytes: Uint8Array<ArrayBuffer>, index: number, count: number): CandidateList {
  const at = bytes.byteOffset + index * LIST_WORDS * 4;
  return readList(new Uint32Array(bytes.buffer, at, listWords(count)), new Float32Array(bytes.buffer, at, listWords(count)), 0, count);
}

/** Reads the list that begins at word `at`. @param words and `floats`: the same memory */
export function readList(words: Uint32Array, floats: Float32Array, at: number, count: number): CandidateList {
  // Plain arrays: these lists are short and made for every token, where typed arrays would cost more to make than to read.
  const tokens: number[] = [];
  const logits: number[] = [];
  for (let k = 0; k < count; k++) {
    tokens.push(words[at + LIST_HEADER + 2 * k]);
    logits.push(floats[at + LIST_HEADER + 2 * k + 1]);
  }
  return {
    logSumExp: floats[at],
    temperedLogSumExp: floats[at + 1],
    drawnToken: words[at + 2],
    drawnScore: floats[at + 3],
    targetLogit: floats[at + 4],
    tokens,
    logits,
  };
}

/** The list with at most `count` candidates. */
export function firstCandidates(list: CandidateList, count: number): CandidateList {
  return list.tokens.length <= count ? list : { ...list, tokens: list.tokens.slice(0, count), logits: list.logits.slice(0, count) };
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
  const drawn = lists.reduce((best, list) => list.drawnScore > best.drawnScore ? list : best);
  return {
    logSumExp: addExponentials(lists, (list) => list.logSumExp),
    temperedLogSumExp: addExponentials(lists, (list) => list.temperedLogSumExp),
    drawnToken: drawn.drawnToken,
    drawnScore: drawn.drawnScore,
    targetLogit: lists[targetOwner].targetLogit,
    ...mergeBest(lists),
  };
}

/** As many of the best candidates as one list has. */
function mergeBest(lists: readonly CandidateList[]): Pick<CandidateList, "tokens" | "logits"> {
  const tokens: number[] = [];
  const logits: number[] = [];
  const next = lists.map(() => 0);
  for (let k = 0; k < lists[0].tokens.length; k++) {
    let best = 0;
    for (let rank = 1; rank < lists.length; rank++) if (precedes(lists[rank], next[rank], lists[best], next[best])) best = rank;
    tokens.push(lists[best].tokens[next[best]]);
    logits.push(lists[best].logits[next[best]++]);
  }
  return { tokens, logits };
}

function precedes(a: CandidateList, i: number, b: CandidateList, j: number): boolean {
  if (i >= a.tokens.length || j >= b.tokens.length) return i < a.tokens.length;
  return a.logits[i] === b.logits[j] ? a.tokens[i] < b.tokens[j] : a.logits[i] > b.logits[j];
}

/** ln Σ exp(x) */
function addExponentials(lists: readonly CandidateList[], value: (list: CandidateList) => number): number {
  let largest = -Infinity;
  for (const list of lists) largest = Math.max(largest, value(list));
  let sum = 0;
  for (const list of lists) sum += Math.exp(value(list) - largest);
  return largest + Math.log(sum);
}
