/**
 * Where the project is.
 *
 * @module
 */

/** Project root. */
export const ROOT: string = decodeURIComponent(new URL("../..", import.meta.url).pathname).replace(/\/$/, "");
