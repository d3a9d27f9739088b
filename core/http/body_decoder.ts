/**
 * Request bodies as they come off the wire: what belongs to the body is handed on, whatever the pieces, and where it ends is known.
 *
 * @module
 */
import { type BodyFraming, HttpSyntaxError } from "./request_head.ts";

/** Takes a body out of what was read. */
export interface BodyDecoder {
  /** Whether the body has ended. */
  readonly done: boolean;
  /**
   * Takes what belongs to the body.
   *
   * @returns bytes of the body (a copy), and how many of `input` were used; the rest belongs to what follows
   * @throws {HttpSyntaxError}
   */
  push(input: Uint8Array<ArrayBuffer>): { readonly data: Uint8Array<ArrayBuffer>; readonly used: number };
}

/** The decoder of a request's body. */
export function bodyDecoder(framing: BodyFraming): BodyDecoder {
  switch (framing.kind) {
    case "none":
      return new LengthDecoder(0);
    case "length":
      return new LengthDecoder(framing.bytes);
    case "chunked":
      return new ChunkedDecoder();
    default:
      return framing satisfies never;
  }
}

class LengthDecoder implements BodyDecoder {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  get done(): boolean {
    return this.#left === 0;
  }

  push(input: Uint8Array<ArrayBuffer>) {
    const data = input.slice(0, this.#left);
    this.#left -= data.length;
    return { data, used: data.length };
  }
}

/** Characters of a line between chunks: a size, and extensions that nobody reads. */
const MAX_LINE = 256;
/** Characters of all fields behind the last chunk; nobody reads them. */
const MAX_TRAILER = 4096;

const CR = 13;
const LF = 10;

class ChunkedDecoder implements BodyDecoder {
  /** What comes next: a line with a size, a chunk, the line's end behind it, or fields behind the last one. */
  #state: "size" | "data" | "end of data" | "trailer" | "done" = "size";
  #line = "";
  /** Bytes of the chunk that have not come. */
  #left = 0;
  #trailer = 0;

  get done(): boolean {
    return this.#state === "done";
  }

  push(input: Uint8Array<ArrayBuffer>) {
    const data = new Uint8Array(input.length);
    let [at, filled] = [0, 0];
    while (at < input.length && this.#state !== "done") {
      if (this.#state === "data") {
        const part = input.subarray(at, at + this.#left);
        data.set(part, filled);
        filled += part.length;
        at += part.length;
        this.#left -= part.length;
        if (this.#left === 0) this.#state = "end of data";
      } else this.#character(input[at++]);
    }
    return { data: data.slice(0, filled), used: at };
  }

  #character(code: number): void {
    this.#line += String.fromCharCode(code);
    if (this.#line.length > MAX_LINE) throw new HttpSyntaxError(400, "Cannot read the body: a line between chunks is too long");
    // A line feed ends a line only behind a carriage return, which stands nowhere else.
    const line = this.#line;
    const behindReturn = line.length > 1 && line.charCodeAt(line.length - 2) === CR;
    if (behindReturn !== (code === LF)) throw new HttpSyntaxError(400, "Cannot read the body: a line between chunks does not end as it must");
    if (!behindReturn) return;
    this.#line = "";
    this.#endLine(line.slice(0, -2));
  }

  #endLine(line: string): void {
    switch (this.#state) {
      case "size": {
        const size = /^([0-9a-f]{1,12})[ \t]*(?:;.*)?$/i.exec(line);
        if (size === null) throw new HttpSyntaxError(400, "Cannot read the body: a chunk has no size");
        this.#left = parseInt(size[1], 16);
        this.#state = this.#left === 0 ? "trailer" : "data";
        break;
      }
      case "end of data":
        if (line !== "") throw new HttpSyntaxError(400, "Cannot read the body: a chunk is longer than it says");
        this.#state = "size";
        break;
      case "trailer":
        this.#trailer += line.length + 2;
        if (this.#trailer > MAX_TRAILER) throw new HttpSyntaxError(431, "The fields behind the body are too long");
        if (line === "") this.#state = "done";
        break;
      default:
        throw new HttpSyntaxError(400, "Cannot read the body");
    }
  }
}
