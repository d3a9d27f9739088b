/**
 * Looks through MessagePack before it is decoded. A decoder allocates what a few bytes ask for: nested arrays without end, maps of a billion entries, extension
 * types that become objects of their own. Here every item is walked over and counted first, and nothing is built.
 *
 * @module
 */
import { LatentmeshError } from "../errors.ts";

/** Deepest nesting of arrays and maps. */
export const MAX_DEPTH = 8;

/** Most items of one message: every scalar, key, array and map counts. The blocks of the longest context are half of it. */
export const MAX_ITEMS = 1 << 17;

/**
 * Throws unless `bytes` is exactly one MessagePack item within the limits.
 *
 * @throws {LatentmeshError} `protocol`
 */
export function checkMessagePack(bytes: Uint8Array<ArrayBuffer>): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  /** Items still expected at each open level. */
  const pending: number[] = [1];
  let at = 0;
  let items = 0;
  const need = (count: number) => {
    if (count > bytes.byteLength - at) refuse("it is truncated");
  };
  const skip = (count: number) => {
    need(count);
    at += count;
  };
  const length = (size: 1 | 2 | 4): number => {
    need(size);
    const value = size === 1 ? view.getUint8(at) : size === 2 ? view.getUint16(at) : view.getUint32(at);
    at += size;
    return value;
  };
  const open = (children: number) => {
    // Every child takes a byte at least, so a count beyond the rest of the message is a lie.
    need(children);
    if (pending.length > MAX_DEPTH) refuse(`it is nested deeper than ${MAX_DEPTH}`);
    if (children > 0) pending.push(children);
  };
  while (pending.length > 0) {
    if (++items > MAX_ITEMS) refuse(`it has more than ${MAX_ITEMS} items`);
    pending[pending.length - 1]--;
    const byte = length(1);
    if (byte <= 0x7f || byte >= 0xe0 || (byte >= 0xc0 && byte !== 0xc1 && byte <= 0xc3)) {
      // Small integers, nil and booleans end here.
    } else if (byte <= 0x8f) open((byte & 15) * 2);
    else if (byte <= 0x9f) open(byte & 15);
    else if (byte <= 0xbf) skip(byte & 31);
    else if (byte === 0xc4 || byte === 0xd9) skip(length(1));
    else if (byte === 0xc5 || byte === 0xda) skip(length(2));
    else if (byte === 0xc6 || byte === 0xdb) skip(length(4));
    else if (byte === 0xcc || byte === 0xd0) skip(1);
    else if (byte === 0xcd || byte === 0xd1) skip(2);
    else if (byte === 0xca || byte === 0xce || byte === 0xd2) skip(4);
    else if (byte === 0xcb || byte === 0xcf || byte === 0xd3) skip(8);
    else if (byte === 0xdc) open(length(2));
    else if (byte === 0xdd) open(length(4));
    else if (byte === 0xde) open(length(2) * 2);
    else if (byte === 0xdf) open(length(4) * 2);
    else refuse(`byte 0x${byte.toString(16)} begins an extension or a reserved type`);
    while (pending.at(-1) === 0) pending.pop();
  }
  if (at !== bytes.byteLength) refuse("bytes follow it");
}

function refuse(problem: string): never {
  throw new LatentmeshError("protocol", `Cannot decode a message: ${problem}`);
}
