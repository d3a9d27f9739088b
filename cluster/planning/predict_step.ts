/**
 * What a decode step takes by what it reads and sums: a prediction to compare ways of using the same cards by, not a measurement.
 *
 * @module
 */
import type { IndexDtype } from "../../core/cache/cache_dtype.ts";
import { hasZeros, leastGroup } from "../../core/model/int4/int4_spec.ts";
import { isMoeLayer, type ModelSpec } from "../../core/model/spec.ts";
import { indexBytesPerToken } from "../../core/tpla/plan.ts";
import type { Settings } from "../config/settings.ts";

/** Bytes a card reads in a second: an H200, of steps that are read well (bench/NOTES.md). On other cards predictions are off by one factor, all of them alike. */
export const READ_BYTES_PER_SECOND = 3e12;
/** Milliseconds of a sum between cards of one host: through shared memory, H200s (bench/NOTES.md). */
export const SUM_MS = 0.1;

/** What a step is predicted from. */
export interface StepLoad {
  /** Of one rank, all of them. */
  readonly weightBytes: number;
  /** Of one rank, all layers. */
  readonly cachedBytesPerToken: number;
  /** Precision of cached index keys; default: f16. */
  readonly indexDtype?: IndexDtype;
  /** Ranks that share experts; each has all of them where blocks are whole. */
  readonly sharing: number;
  /** Sums of a step. */
  readonly sums: number;
}

/** Sequences of a step, and the tokens of each. */
export interface StepShape {
  readonly batch: number;
  readonly context: number;
}

/** Milliseconds of a step. */
export function predictStep(spec: ModelSpec, weights: Settings["weights"], load: StepLoad, shape: StepShape): number {
  return bytesOfStep(spec, weights, load, shape) / READ_BYTES_PER_SECOND * 1000 + load.sums * SUM_MS;
}

/** Bytes that a rank reads in a step: all weights but the embedding table and the experts that no row has chosen, and what is cached of every row. */
export function bytesOfStep(spec: ModelSpec, weights: Settings["weights"], load: StepLoad, { batch, context }: StepShape): number {
  const { moe, hiddenSize, layers, vocabSize, tieEmbeddings } = spec;
  // A table of its own is stored as it is: two bytes for a value, in the checkpoints that are served.
  const table = tieEmbeddings ? 0 : vocabSize * hiddenSize * 2;
  let unread = 0;
  if (moe !== null) {
    const routed = Array.from({ length: layers }, (_, i) => isMoeLayer(spec, i)).filter(Boolean).length;
    const experts = routed * moe.experts * 3 * hiddenSize * moe.expertWidth * bytesPerWeight(spec, weights) / load.sharing;
    // Rows choose independently, as far as is known here.
    unread = experts * (1 - moe.activeExperts / moe.experts) ** batch;
  }
  return Math.max(0, load.weightBytes - table - unread) + batch * cacheBytesOfRow(spec, load, context);
}

/** What a row reads of the cache: all of each token, or index keys of all, which are in f16 on cards, and the rest of those that are chosen. */
function cacheBytesOfRow(spec: ModelSpec, { cachedBytesPerToken: perToken, indexDtype = "f16" }: StepLoad, context: number): number {
  const { indexer } = spec;
  if (indexer === null) return context * perToken;
  const keys = indexBytesPerToken(spec, indexDtype);
  return context * keys + Math.min(context, indexer.topTokens) * (perToken - keys);
}

/** Bytes of a linear weight, with its scale. */
export function bytesPerWeight({ fp8Block, int4 }: ModelSpec, weights: Settings["weights"]): number {
  // Kept whatever is asked for; a scale of two bytes, or a word with a zero point.
  if (int4 !== null) return 0.5 + (hasZeros(int4) ? 4 : 2) / (leastGroup(int4) ?? Infinity);
  // Groups of 64 have a scale of two bytes.
  if (weights !== "keep") return (weights === "q4" ? 0.5 : 1) + 2 / 64;
  return fp8Block === null ? 2 : 1;
}
