/**
 * Compiled kernels as they are committed: as text, which Deno imports from everywhere without a permission; compressed, since registries limit packages.
 *
 * @module
 */
import { gunzipSync, gzipSync } from "node:zlib";

/** A module's bytes. */
export function unpackModule(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(gunzipSync(Uint8Array.fromBase64(text)));
}

/** The other way, in lines. */
export function packModule(bytes: Uint8Array<ArrayBuffer>): string {
  return new Uint8Array(gzipSync(bytes, { level: 9 })).toBase64().replace(/.{150}/g, "$&\n") + "\n";
}
