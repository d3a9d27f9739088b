/**
 * What a measurement of drift is asked and answers.
 *
 * @module
 */
import type { CacheDtype, IndexDtype } from "../cache/cache_dtype.ts";
import type { Scheme } from "./scheme.ts";

/** What is measured. */
export interface DriftRequest extends Scheme {
  readonly documents: readonly string[];
  /** Tokens of each document, at most. */
  readonly limitTokens: number;
  /** Tokens that are prefilled; default: half of each document. */
  readonly prefix?: number;
  /** Precision in which latents are cached by the group, and by whoever computes prompts for it; default: as the device caches them for exact attention. */
  readonly cacheDtype?: CacheDtype;
  /** The same of index keys; default: as the device caches them for exact attention. */
  readonly indexDtype?: IndexDtype;
}

/** What `drift --json` prints. */
export interface DriftReport {
  /** Mean KL(MLA ‖ chosen) per token, in nats; MLA is exact attention over latents as the device caches them by default. */
  readonly kl: number;
  /** Fraction of tokens at which both would pick the same next one. */
  readonly agreement: number;
  readonly perplexity: { readonly exact: number; readonly chosen: number };
  /** Values each rank caches per token and layer. */
  readonly widths: readonly number[];
  /** Precision in which they are cached. */
  readonly cacheDtype: CacheDtype;
  /** Bytes each rank caches per token, all layers. */
  readonly bytes: readonly number[];
  /** Predictions compared. */
  readonly tokens: number;
}
