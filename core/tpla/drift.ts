/**
 * What a measurement of drift is asked and answers.
 *
 * @module
 */
import type { Scheme } from "./scheme.ts";

/** What is measured. */
export interface DriftRequest extends Scheme {
  readonly documents: readonly string[];
  /** Tokens of each document, at most. */
  readonly limitTokens: number;
  /** Tokens that are prefilled; default: half of each document. */
  readonly prefix?: number;
}

/** What `drift --json` prints. */
export interface DriftReport {
  /** Mean KL(MLA ‖ chosen) per token, in nats. */
  readonly kl: number;
  /** Fraction of tokens at which both would pick the same next one. */
  readonly agreement: number;
  readonly perplexity: { readonly exact: number; readonly chosen: number };
  /** Values each rank caches per token and layer. */
  readonly widths: readonly number[];
  /** Predictions compared. */
  readonly tokens: number;
}
