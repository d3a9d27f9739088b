/**
 * What keys and tokens of a configuration must be.
 *
 * @module
 */

/** Least characters of one. */
export const LEAST_SECRET = 16;

/** What a bearer token may consist of (RFC 6750). */
export const BEARER = /^[\w.~+/-]+=*$/;
