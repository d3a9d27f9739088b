/**
 * Entry of a worker whose messages to other workers take longer on the wire, by as many milliseconds as this module's URL says (`?ms=5`).
 *
 * @module
 */
import type { Listener, Socket, Transport } from "../core/wire/transport.ts";
import { runWorker } from "../workers/process/main.ts";
import { DenoTransport } from "../workers/links/transport.ts";

/** Delays what is sent over every link but the coordinator's. */
class SlowTransport implements Transport {
  readonly elsewhere = null;
  readonly #fast = new DenoTransport();
  readonly #coordinator: string;
  readonly #ms: number;

  constructor(coordinator: string, ms: number) {
    this.#coordinator = coordinator;
    this.#ms = ms;
  }

  listen(address: string, onSocket: (socket: Socket) => Promise<void>): Promise<Listener> {
    return this.#fast.listen(address, (socket) => onSocket(this.#slow(socket)));
  }

  async connect(address: string): Promise<Socket> {
    const socket = await this.#fast.connect(address);
    return address === this.#coordinator ? socket : this.#slow(socket);
  }

  #slow(socket: Socket): Socket {
    const send = socket.send.bind(socket);
    socket.send = (data) => {
      // Its bytes may be used again as soon as this returns.
      const copy = data.slice();
      setTimeout(() => send(copy), this.#ms);
    };
    return socket;
  }
}

if (import.meta.main) {
  const ms = Number(new URL(import.meta.url).searchParams.get("ms"));
  await runWorker(({ coordinator }) => new SlowTransport(coordinator, ms));
}
