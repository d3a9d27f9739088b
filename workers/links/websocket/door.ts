/**
 * A door on the network: whoever comes has a few seconds and a few bytes to prove who it is, and who fails again and again has to wait.
 *
 * @module
 */
import { acceptConnections } from "../../../core/net/accept.ts";
import { type Connection, ConnectionReader } from "../../../core/net/connection.ts";
import { addressGroup, ConnectionLimiter, type ConnectionLimits, type ConnectionSlot, SWEEP_INTERVAL } from "../../../core/net/connection_limiter.ts";
import type { Socket } from "../../../core/wire/transport.ts";
import { Patience } from "./patience.ts";
import { ServerSocket } from "./server_socket.ts";
import { acceptUpgrade } from "./upgrade.ts";

/** Who has not proved who it is: in all, and of one address, from which all workers of a machine may come at once. */
const STRANGERS: ConnectionLimits = { total: 256, perAddress: 64 };
const STRANGER_TIMEOUT = 8000;

/** What makes a connection secure; null: nothing does. */
export type Securing = ((raw: Connection) => Connection) | null;

/** An open door. */
export class Door {
  /** Where it is. */
  readonly address: Deno.NetAddr;
  readonly #listener: Deno.TcpListener;
  readonly #secure: (raw: Connection) => Connection;
  readonly #strangerTimeout: number;
  readonly #onSocket: (socket: Socket) => Promise<void>;
  readonly #strangers = new ConnectionLimiter(STRANGERS);
  readonly #patience = new Patience();
  readonly #closing = new AbortController();
  readonly #accepting: Promise<void>;
  readonly #sweeper: ReturnType<typeof setInterval>;
  readonly #running = new Set<Promise<void>>();

  /**
   * @param onSocket see `Transport.listen`
   * @param strangerTimeout milliseconds that a stranger may take, TLS and all
   */
  constructor(
    where: { readonly hostname: string; readonly port: number },
    securing: Securing,
    onSocket: (socket: Socket) => Promise<void>,
    strangerTimeout: number = STRANGER_TIMEOUT,
  ) {
    this.#strangerTimeout = strangerTimeout;
    this.#secure = securing ?? ((raw) => raw);
    const listener = this.#listener = Deno.listen(where);
    this.address = listener.addr as Deno.NetAddr;
    this.#onSocket = onSocket;
    this.#sweeper = setInterval(() => this.#strangers.sweep(performance.now()), SWEEP_INTERVAL);
    this.#accepting = acceptConnections(listener, this.#closing.signal, (connection) => this.#open(connection), () => this.#strangers.makeRoom());
  }

  /** Lets nobody in any more; those who are in stay. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#listener.close();
    clearInterval(this.#sweeper);
    this.#strangers.close("all");
    await this.#accepting;
  }

  #open(raw: Deno.TcpConn): void {
    const { hostname } = raw.remoteAddr;
    let connection: Connection = raw;
    const cut = () => closeQuietly(connection);
    const slot = this.#strangers.accept(hostname, cut);
    if (slot === null) return cut();
    slot.rest(performance.now() + this.#strangerTimeout);
    raw.setNoDelay();
    connection = this.#secure(raw);
    const running: Promise<void> = this.#meet(connection, slot, hostname).catch(() => {}).finally(() => {
      this.#strangers.leave(slot);
      cut();
      this.#running.delete(running);
    });
    this.#running.add(running);
  }

  async #meet(connection: Connection, slot: ConnectionSlot, hostname: string): Promise<void> {
    const group = addressGroup(hostname);
    await this.#patience.wait(group, this.#closing.signal);
    const reader = new ConnectionReader(connection);
    if (!await acceptUpgrade(connection, reader)) return this.#patience.failed(group);
    let proven = false;
    const socket = new ServerSocket(connection, reader, hostname, {
      cut: () => closeQuietly(connection),
      trusted: () => {
        proven = true;
        this.#patience.succeeded(group);
        this.#strangers.leave(slot);
      },
    });
    const decided = this.#onSocket(socket).catch(() => {}).then(() => {
      if (!proven) this.#patience.failed(group);
    });
    await socket.run();
    await decided;
  }
}

function closeQuietly(connection: Connection): void {
  try {
    connection.close();
  } catch {
    // It was closed already.
  }
}
