/**
 * GPT-2's alphabet of bytes, in which byte-level vocabularies are written.
 *
 * @module
 */

/** GPT-2's printable character for each byte, reversed: printable Latin-1 stands for itself, the rest are shifted beyond 255. */
export const BYTE_OF_CHARACTER: ReadonlyMap<string, number> = byteAlphabet();

/** GPT-2's printable character for a byte. */
export function characterOfByte(byte: number): string {
  return CHARACTER_OF_BYTE[byte];
}

const CHARACTER_OF_BYTE: readonly string[] = [...BYTE_OF_CHARACTER].sort((a, b) => a[1] - b[1]).map(([character]) => character);

function byteAlphabet(): Map<string, number> {
  const printable = (byte: number) => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  const alphabet = new Map<string, number>();
  let shifted = 256;
  for (let byte = 0; byte < 256; byte++) alphabet.set(String.fromCodePoint(printable(byte) ? byte : shifted++), byte);
  return alphabet;
}
