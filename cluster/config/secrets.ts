/**
 * What keys and tokens of a configuration must be.
 *
 * @module
 */

export { LEAST_SECRET } from "../../core/env.ts";

/** What a bearer token may consist of (RFC 6750). */
export const BEARER = /^[\w.~+/-]+=*$/;
