/**
 * An accepted connection as whoever reads it sees it. The implementation, which does I/O, is Deno's own.
 *
 * @module
 */

/** The part of `Deno.Conn` that is used. */
export interface Connection {
  read(into: Uint8Array<ArrayBuffer>): Promise<number | null>;
  write(bytes: Uint8Array<ArrayBuffer>): Promise<number>;
  close(): void;
}

/** Writes all of it, in pieces: each is copied by the system at once. */
export async function writeAll(connection: Connection, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await connection.write(bytes.subarray(done, done + WRITE_BYTES));
}

/** Bytes that are written at a time. */
const WRITE_BYTES = 256 << 10;
/** Bytes that are read at a time, and kept at most. */
const BUFFER_BYTES = 16 << 10;

/** Reads a connection through one buffer of fixed size: whoever sends more than is taken out waits. */
export class ConnectionReader {
  readonly #connection: Connection;
  readonly #buffer = new Uint8Array(BUFFER_BYTES);
  #begin = 0;
  #end = 0;
  #filling: Promise<boolean> | null = null;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** What was read and not taken out; valid until the next {@link fill}. */
  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#buffer.subarray(this.#begin, this.#end);
  }

  /** Whether nothing more can be read before something is taken out. */
  get full(): boolean {
    return this.#end - this.#begin === BUFFER_BYTES;
  }

  /** Reads some more, or waits for what is being read; false at the end. The buffer must not be full. */
  fill(): Promise<boolean> {
    return this.#filling ??= this.#fill().finally(() => this.#filling = null);
  }

  /** Takes out the first bytes. */
  take(count: number): void {
    this.#begin += count;
  }

  /** Fills a target, past the buffer where it is large; null if the end comes before. */
  async readInto(target: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer> | null> {
    for (let filled = 0; filled < target.length;) {
      if (this.bytes.length > 0) {
        const part = this.bytes.subarray(0, target.length - filled);
        target.set(part, filled);
        this.take(part.length);
        filled += part.length;
      } else if (target.length - filled < BUFFER_BYTES) {
        if (!await this.fill()) return null;
      } else {
        const count = await this.#connection.read(target.subarray(filled));
        if (count === null) return null;
        filled += count;
      }
    }
    return target;
  }

  async #fill(): Promise<boolean> {
    if (this.#begin > 0) {
      this.#buffer.copyWithin(0, this.#begin, this.#end);
      this.#end -= this.#begin;
      this.#begin = 0;
    }
    const count = await this.#connection.read(this.#buffer.subarray(this.#end));
    if (count === null) return false;
    this.#end += count;
    return true;
  }
}
