/**
 * Writes an answer to a connection.
 *
 * @module
 */
import { type Connection, writeAll } from "../../../core/net/connection.ts";
import type { ConnectionSlot } from "../../../core/net/connection_limiter.ts";

/** What of the request the form of the answer depends on. */
export interface ResponseForm {
  /** Whether only the head is wanted. */
  readonly head: boolean;
  /** Of HTTP/1. */
  readonly minor: 0 | 1;
  /** Whether another request may follow. */
  readonly keepAlive: boolean;
}

const ENCODER = new TextEncoder();
const LAST_CHUNK = ENCODER.encode("0\r\n\r\n");

type Reader = ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>;

/** Writes one answer. */
export class ResponseWriter {
  /** Whether the client can tell where the answer ends without the connection's end. */
  delimited = true;
  readonly #connection: Connection;
  readonly #slot: ConnectionSlot;
  readonly #form: ResponseForm;
  readonly #timeout: number;

  /** @param form.timeout milliseconds in which the client may take nothing */
  constructor(connection: Connection, slot: ConnectionSlot, { timeout, ...form }: ResponseForm & { readonly timeout: number }) {
    this.#connection = connection;
    this.#slot = slot;
    this.#form = form;
    this.#timeout = timeout;
  }

  /** Writes it whole. @throws if the connection breaks; the answer's stream is cancelled then */
  async write(response: Response): Promise<void> {
    const bare = this.#form.head || response.status === 204 || response.status === 304;
    const reader = response.body?.getReader() as Reader | undefined;
    try {
      if (reader === undefined || bare) {
        await this.#send(this.#headOf(response, bare ? {} : { "content-length": "0" }));
        await reader?.cancel();
      } else if (isStream(response)) await this.#writeStream(response, reader, []);
      else await this.#writeDocument(response, reader);
    } catch (error) {
      await reader?.cancel(error).catch(() => {});
      throw error;
    }
  }

  /** A document that is there at once goes out with its length, in one piece. */
  async #writeDocument(response: Response, reader: Reader): Promise<void> {
    const first = await reader.read();
    const second = first.done ? first : await reader.read();
    const pieces = [first, second].flatMap(({ value }) => value === undefined ? [] : [value]);
    if (!second.done) return await this.#writeStream(response, reader, pieces);
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
    await this.#send(this.#headOf(response, { "content-length": String(length) }), ...pieces);
  }

  async #writeStream(response: Response, reader: Reader, begun: readonly Uint8Array<ArrayBuffer>[]): Promise<void> {
    this.delimited = this.#form.minor === 1;
    const piece = (bytes: Uint8Array<ArrayBuffer>) => this.delimited ? chunkOf(bytes) : bytes;
    await this.#send(this.#headOf(response, this.delimited ? { "transfer-encoding": "chunked" } : {}), ...begun.map(piece));
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      // An empty chunk would be the last one.
      if (next.value.length > 0) await this.#send(piece(next.value));
    }
    if (this.delimited) await this.#send(LAST_CHUNK);
  }

  async #send(...pieces: readonly Uint8Array<ArrayBuffer>[]): Promise<void> {
    this.#slot.work(performance.now() + this.#timeout);
    await writeAll(this.#connection, pieces.length === 1 ? pieces[0] : joined(pieces));
    // While the answer is computed, nothing presses.
    this.#slot.work();
  }

  #headOf({ status, headers }: Response, framing: Readonly<Record<string, string>>): Uint8Array<ArrayBuffer> {
    const own = { date: new Date().toUTCString(), ...framing };
    const keeps = this.#form.keepAlive && (framing["content-length"] !== undefined || framing["transfer-encoding"] !== undefined || this.#form.head);
    const fields = [...headers, ...Object.entries(own), ["connection", keeps ? "keep-alive" : "close"]];
    const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`);
    return ENCODER.encode(`HTTP/1.1 ${status} ${REASONS[status] ?? "Other"}\r\n${lines.join("")}\r\n`);
  }
}

/** Whether pieces of an answer come as they are computed. */
export function isStream({ headers }: Response): boolean {
  return headers.get("content-type")?.startsWith("text/event-stream") ?? false;
}

function chunkOf(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return joined([ENCODER.encode(`${bytes.length.toString(16)}\r\n`), bytes, ENCODER.encode("\r\n")]);
}

function joined(pieces: readonly Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  204: "No Content",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  413: "Content Too Large",
  417: "Expectation Failed",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  499: "Client Closed Request",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
};
