/**
 * Messages over the pipes of a text process: four bytes of length, then a value as V8 writes it.
 *
 * @module
 */
import { deserialize, serialize } from "node:v8";

/** Bytes that are written at a time: a pipe holds as many, and the event loop turns in between. */
const PIECE_BYTES = 64 << 10;

/** The part of a pipe that is written to. */
export interface PipeEnd {
  write(bytes: Uint8Array<ArrayBuffer>): Promise<unknown>;
}

/** The part of a pipe that is read from: a chunk, or null at its end. */
export type ReadChunk = () => Promise<Uint8Array<ArrayBuffer> | null>;

/** Writes a value. */
export async function writeFrame(pipe: PipeEnd, value: unknown): Promise<void> {
  const body = serialize(value) as Uint8Array<ArrayBuffer>;
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, body.byteLength, true);
  await pipe.write(length);
  for (let at = 0; at < body.byteLength; at += PIECE_BYTES) await pipe.write(body.subarray(at, at + PIECE_BYTES));
}

/** Reads values. */
export class FrameReader {
  readonly #read: ReadChunk;
  #rest = new Uint8Array();

  constructor(read: ReadChunk) {
    this.#read = read;
  }

  /** The next value; undefined at the end. */
  async next(): Promise<unknown> {
    const length = await this.#take(4);
    if (length === null) return undefined;
    const body = await this.#take(new DataView(length.buffer, length.byteOffset).getUint32(0, true));
    return body === null ? undefined : deserialize(body);
  }

  async #take(count: number): Promise<Uint8Array<ArrayBuffer> | null> {
    const all = new Uint8Array(count);
    for (let filled = 0; filled < count;) {
      if (this.#rest.length === 0) {
        const chunk = await this.#read();
        if (chunk === null) return null;
        this.#rest = chunk;
      }
      const part = this.#rest.subarray(0, count - filled);
      all.set(part, filled);
      filled += part.length;
      this.#rest = this.#rest.subarray(part.length);
    }
    return all;
  }
}
