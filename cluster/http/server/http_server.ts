/**
 * An HTTP/1.1 server that many, slow, silent and vanishing clients do no harm: connections are bounded, requests have deadlines, and whoever computes an answer
 * learns at once that its client is gone. Deno's own tells nobody of a client that left while its answer was computed, and ends with "Too many open files".
 *
 * @module
 */
import { acceptConnections } from "../../../core/net/accept.ts";
import { ConnectionLimiter, type ConnectionLimits, SWEEP_INTERVAL } from "../../../core/net/connection_limiter.ts";
import { HttpConnection, type HttpHandler } from "./http_connection.ts";
import { HTTP_TIMEOUTS, type HttpTimeouts } from "./timeouts.ts";

/** Options of {@link HttpServer.listen}. */
export interface HttpServerOptions {
  readonly hostname: string;
  /** 0: any that is free. */
  readonly port: number;
  readonly limits: ConnectionLimits;
  /** Default: {@link HTTP_TIMEOUTS}. */
  readonly timeouts?: Partial<HttpTimeouts>;
  /** Told of connections that were turned away or could not be accepted. */
  readonly onTurnedAway?: (count: number, reason: string) => void;
}

/** A listening server. */
export class HttpServer {
  /** Where it listens. */
  readonly address: Deno.NetAddr;
  readonly #listener: Deno.TcpListener;
  readonly #limiter: ConnectionLimiter;
  readonly #handler: HttpHandler;
  readonly #timeouts: HttpTimeouts;
  readonly #onTurnedAway: (count: number, reason: string) => void;
  readonly #closing = new AbortController();
  readonly #connections = new Set<Promise<void>>();
  readonly #accepting: Promise<void>;
  readonly #sweeper: ReturnType<typeof setInterval>;

  private constructor(listener: Deno.TcpListener, { limits, timeouts, onTurnedAway }: HttpServerOptions, handler: HttpHandler) {
    this.#listener = listener;
    this.address = listener.addr as Deno.NetAddr;
    this.#limiter = new ConnectionLimiter(limits);
    this.#handler = handler;
    this.#timeouts = { ...HTTP_TIMEOUTS, ...timeouts };
    this.#onTurnedAway = onTurnedAway ?? (() => {});
    this.#sweeper = setInterval(() => this.#limiter.sweep(performance.now()), SWEEP_INTERVAL);
    this.#accepting = acceptConnections(listener, this.#closing.signal, (connection) => this.#open(connection), (error) => {
      // Descriptors are short: somebody who does nothing has one.
      this.#limiter.makeRoom();
      this.#onTurnedAway(1, String(error));
    });
  }

  /** Listens. @throws what `Deno.listen` throws */
  static listen(options: HttpServerOptions, handler: HttpHandler): HttpServer {
    return new HttpServer(Deno.listen({ hostname: options.hostname, port: options.port }), options, handler);
  }

  /** Accepts nobody any more, and resolves when the requests that run have been answered. */
  async shutdown(): Promise<void> {
    if (!this.#closing.signal.aborted) {
      this.#closing.abort();
      this.#listener.close();
      this.#limiter.close("idle");
    }
    await this.#accepting;
    await Promise.all(this.#connections);
    clearInterval(this.#sweeper);
  }

  /** Ends all connections, whatever is being answered. */
  cut(): void {
    this.#limiter.close("all");
  }

  #open(connection: Deno.TcpConn): void {
    const { turnedAway } = this.#limiter;
    const address = connection.remoteAddr.hostname;
    const slot = this.#limiter.accept(address, () => closeQuietly(connection));
    if (this.#limiter.turnedAway > turnedAway) this.#onTurnedAway(this.#limiter.turnedAway - turnedAway, `too many connections, of ${address}`);
    if (slot === null) return closeQuietly(connection);
    connection.setNoDelay();
    const options = { timeouts: this.#timeouts, closing: this.#closing.signal };
    const served = new HttpConnection(connection, slot, this.#handler, options).serve().finally(() => {
      this.#limiter.leave(slot);
      closeQuietly(connection);
      this.#connections.delete(served);
    });
    this.#connections.add(served);
  }
}

function closeQuietly(connection: Deno.TcpConn): void {
  try {
    connection.close();
  } catch {
    // It was closed already.
  }
}
