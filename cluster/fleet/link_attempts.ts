/**
 * How often, and how soon again, workers are tried to be linked.
 *
 * @module
 */

/** Milliseconds between two attempts. */
export const RETRY_DELAY = 200;

/** Attempts in a row after which it is given up. */
export const MOST_ATTEMPTS = 20;

/** The attempt of which people are told if it fails: the first may meet a worker that is just being started again. */
export const TOLD_ATTEMPT = 3;
