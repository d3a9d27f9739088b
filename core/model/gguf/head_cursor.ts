/**
 * Reads what a file begins with from front to back, a piece at a time.
 *
 * @module
 */
import type { ByteSource } from "../safetensors.ts";

/** Bytes that are read at a time. */
const PIECE_BYTES = 1 << 20;

/** Most bytes of the head of a file. The largest vocabularies take 20 MB. */
const MOST_BYTES = 256 << 20;

/** Bytes of a file in order. Little endian. */
export class HeadCursor {
  readonly #source: ByteSource;
  readonly #refuse: (problem: string) => never;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  #bytes = new Uint8Array();
  #view = new DataView(this.#bytes.buffer);
  /** Where the bytes are in the file. */
  #begin = 0;
  #at = 0;

  /** @param refuse throws, saying what is wrong with the file */
  constructor(source: ByteSource, refuse: (problem: string) => never) {
    this.#source = source;
    this.#refuse = refuse;
  }

  /** The next byte's place in the file. */
  get offset(): number {
    return this.#begin + this.#at;
  }

  /** Bytes that are left of the file. */
  get left(): number {
    return this.#source.size - this.offset;
  }

  /** Has the next bytes in memory. A call for each value would take longer than reading it, so that those who read many ask first whether there are enough. */
  async need(count: number, what: string): Promise<void> {
    if (this.has(count)) return;
    if (count > this.left) this.#refuse(`it is truncated: it ends in ${what}`);
    if (this.offset + count > MOST_BYTES) this.#refuse(`its metadata takes more than ${MOST_BYTES} bytes`);
    this.#begin = this.offset;
    this.#at = 0;
    this.#bytes = await this.#source.read(this.#begin, Math.min(this.#source.size - this.#begin, Math.max(count, PIECE_BYTES)));
    this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
  }

  /** Whether so many are in memory. */
  has(count: number): boolean {
    return this.#at + count <= this.#bytes.byteLength;
  }

  /** Goes on. @returns a view of the bytes in between, which {@link HeadCursor.need} was asked for */
  take(count: number): DataView<ArrayBuffer> {
    this.#at += count;
    return new DataView(this.#view.buffer, this.#view.byteOffset + this.#at - count, count);
  }

  u32(): number {
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, true);
  }

  /** An unsigned integer of 64 bits; what a double does not hold exactly is more than any file has. */
  u64(): number {
    this.#at += 8;
    return Number(this.#view.getBigUint64(this.#at - 8, true));
  }

  /** A length and as many bytes. @param most bytes */
  async string(what: string, most: number): Promise<string> {
    if (!this.has(8)) await this.need(8, what);
    const length = this.u64();
    if (length > most) this.#refuse(`${what} claims ${length} bytes; the most are ${most}`);
    if (!this.has(length)) await this.need(length, what);
    this.#at += length;
    try {
      return this.#decoder.decode(this.#bytes.subarray(this.#at - length, this.#at));
    } catch {
      return this.#refuse(`${what} is not UTF-8`);
    }
  }
}
