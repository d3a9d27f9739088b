/**
 * Keys that are shown as bearer tokens.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { createHash, timingSafeEqual } from "node:crypto";

/** What an authorization header bears; undefined: it bears nothing. */
export function bearerOf(header: string | undefined): string | undefined {
  return /^bearer +(\S+) *$/i.exec(header ?? "")?.[1];
}

/** Names a key, and is as long as that of any other. */
export function digestOf(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}

/** Whether a key has this digest, compared in constant time. */
export function hasDigest(key: string, digest: Uint8Array): boolean {
  return timingSafeEqual(digestOf(key), digest);
}
