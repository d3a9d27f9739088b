/**
 * How tokens are guessed, to be verified several at a time.
 *
 * @module
 */

/** `ngram`: from what followed the same tokens before; `auto`: in every way there is; `off`: not at all. */
export type Speculation = "auto" | "ngram" | "off";

/** All of them. */
export const SPECULATIONS = ["auto", "ngram", "off"] as const satisfies readonly Speculation[];
