/**
 * How tokens are guessed, to be verified several at a time.
 *
 * @module
 */

/** `ngram`: from what followed the same tokens before; `auto`: in every way there is; `off`: not at all. */
export const SPECULATIONS = ["auto", "ngram", "off"] as const;

/** One of {@link SPECULATIONS}. */
export type Speculation = (typeof SPECULATIONS)[number];
