/**
 * Words of the sampling input and of the candidate lists.
 *
 * @module
 */

/** Most candidates of a row. */
export const MOST_CANDIDATES = 64;

/** Tokens of the vocabulary that one workgroup reduces. */
export const CHUNK_TOKENS = 1024;

/** Words of a list before its (token, logit) pairs. */
export const LIST_HEADER = 8;

/** Words of one list. */
export const LIST_WORDS = LIST_HEADER + 2 * MOST_CANDIDATES;

/** Words per row of the sampling input: noise key, position of the token being drawn, bits of 1/temperature, target token. */
export const SAMPLING_WORDS = 4;

/** A row's result; see `merge_candidates`. */
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

/** Reads row `row` of the lists that `merge_candidates` wrote with `count` candidates. */
export function readCandidates(bytes: Uint8Array<ArrayBuffer>, row: number, count: number): CandidateList {
  const at = bytes.byteOffset + row * LIST_WORDS * 4;
  const words = new Uint32Array(bytes.buffer, at, LIST_WORDS);
  const floats = new Float32Array(bytes.buffer, at, LIST_WORDS);
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
