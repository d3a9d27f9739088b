/**
 * Words of the sampling input of candidate selection; the lists it writes are those of `core/sampling/candidates.ts`.
 *
 * @module
 */

/** Tokens of the vocabulary that one workgroup reduces. */
export const CHUNK_TOKENS = 1024;

/** Threads of a workgroup that reduces. */
export const REDUCING_THREADS = 128;

/** Words per row of the sampling input: noise key, position of the token being drawn, bits of 1/temperature, target token. */
export const SAMPLING_WORDS = 4;
