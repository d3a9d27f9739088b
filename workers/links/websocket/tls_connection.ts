/**
 * TLS over an accepted connection. Deno's own listener leaves Nagle's algorithm on, and a frame of 28 KB, which is two records of TLS, then takes 44 ms instead of
 * 0.3: the second waits for a delayed acknowledgement of the first.
 *
 * @module
 */
import { Duplex } from "node:stream";
import { createSecureContext, type SecureContext, TLSSocket } from "node:tls";
import { type Connection, writeAll } from "../../../core/net/connection.ts";

/** Bytes that are read at a time. */
const READ_BYTES = 64 << 10;

/** What makes connections of a server secure. @param cert what it shows, in PEM, as is its key */
export function secureWith(cert: string, key: string): (raw: Connection) => Connection {
  const context = createSecureContext({ cert, key });
  return (raw) => new TlsConnection(raw, context);
}

/** The plain side of a TLS connection; `raw` is closed with it. */
class TlsConnection implements Connection {
  readonly #socket: TLSSocket;
  #rest: Uint8Array<ArrayBuffer> = new Uint8Array();
  #ended: { readonly error: Error | null } | null = null;
  #wake: () => void = () => {};

  constructor(raw: Connection, context: SecureContext) {
    this.#socket = new TLSSocket(new ConnectionStream(raw) as never, { isServer: true, secureContext: context });
    const end = (error: Error | null) => {
      this.#ended ??= { error };
      this.#wake();
    };
    this.#socket.on("readable", () => this.#wake());
    this.#socket.on("error", (error: Error) => end(error));
    this.#socket.on("end", () => end(null));
    this.#socket.on("close", () => end(null));
  }

  async read(into: Uint8Array<ArrayBuffer>): Promise<number | null> {
    while (this.#rest.length === 0) {
      const chunk = this.#socket.read() as Uint8Array<ArrayBuffer> | null;
      if (chunk !== null) this.#rest = chunk;
      else if (this.#ended?.error) throw this.#ended.error;
      else if (this.#ended !== null) return null;
      else await new Promise<void>((resolve) => this.#wake = resolve);
    }
    const part = this.#rest.subarray(0, into.length);
    into.set(part);
    this.#rest = this.#rest.subarray(part.length);
    return part.length;
  }

  write(bytes: Uint8Array<ArrayBuffer>): Promise<number> {
    return new Promise((resolve, reject) => this.#socket.write(bytes, (error) => error ? reject(error) : resolve(bytes.length)));
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** A connection as Node's streams have it. */
class ConnectionStream extends Duplex {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    super({ allowHalfOpen: false });
    this.#connection = connection;
  }

  override _read(): void {
    const buffer = new Uint8Array(READ_BYTES);
    this.#connection.read(buffer).then(
      (count) => this.push(count === null ? null : buffer.subarray(0, count)),
      (error) => this.destroy(error),
    );
  }

  override _write(chunk: Uint8Array<ArrayBuffer>, _encoding: string, callback: (error?: Error) => void): void {
    writeAll(this.#connection, chunk).then(() => callback(), callback);
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    try {
      this.#connection.close();
    } catch {
      // It was closed already.
    }
    callback(error);
  }
}
