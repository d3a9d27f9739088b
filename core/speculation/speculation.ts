/**
 * How tokens are guessed, to be verified several at a time.
 *
 * @module
 */

/** `ngram`: from what followed the same tokens before; `mtp`: by the model's multi-token-prediction layer; `auto`: in every way there is; `off`: not at all. */
export type Speculation = "auto" | "ngram" | "mtp" | "off";

/** All of them. */
export const SPECULATIONS = ["auto", "ngram", "mtp", "off"] as const satisfies readonly Speculation[];
