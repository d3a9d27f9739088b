/**
 * Paths of the API that several parts of a server, or fronts and cells, must agree about.
 *
 * @module
 */

/** Paths of requests that generate, and that may go on elsewhere. */
export const GENERATING_PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"] as const;

/** One of them. */
export type GeneratingPath = (typeof GENERATING_PATHS)[number];

/** Paths of endpoints that need no weights. */
export const TEXT_PATHS: readonly string[] = ["/tokenize", "/detokenize", "/v1/messages/count_tokens"];
