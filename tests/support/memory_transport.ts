/**
 * Sockets in memory, for tests of what talks over them.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { Listener, Socket, Transport } from "../../core/wire/transport.ts";

class MemorySocket implements Socket {
  binaryType = "arraybuffer";
  onmessage: Socket["onmessage"] = null;
  onclose: Socket["onclose"] = null;
  onerror: Socket["onerror"] = null;
  #other: MemorySocket | null = null;
  #open = true;
  /** What came before anybody listened. */
  readonly #early: Uint8Array<ArrayBuffer>[] = [];

  static pair(): [MemorySocket, MemorySocket] {
    const [a, b] = [new MemorySocket(), new MemorySocket()];
    [a.#other, b.#other] = [b, a];
    return [a, b];
  }

  send(data: Uint8Array<ArrayBuffer>): void {
    const copy = data.slice();
    queueMicrotask(() => this.#other!.#take(copy));
  }

  close(code = 1000, reason = ""): void {
    for (const end of [this, this.#other!]) queueMicrotask(() => end.#end(code, reason));
  }

  #take(data: Uint8Array<ArrayBuffer>): void {
    if (!this.#open) return;
    this.#early.push(data);
    // A frame that nobody listens to waits until somebody does, as it would in a socket's buffer.
    if (this.onmessage === null) return void setTimeout(() => this.#deliver(), 0);
    this.#deliver();
  }

  #deliver(): void {
    while (this.onmessage !== null && this.#early.length > 0) this.onmessage({ data: this.#early.shift()! });
  }

  #end(code: number, reason: string): void {
    if (!this.#open) return;
    this.#open = false;
    this.onclose?.({ code, reason });
  }
}

/** Addresses of one test. */
export class MemoryTransport implements Transport {
  readonly elsewhere = null;
  readonly #doors = new Map<string, (socket: Socket) => Promise<void>>();

  listen(address: string, onSocket: (socket: Socket) => Promise<void>): Promise<Listener> {
    this.#doors.set(address, onSocket);
    return Promise.resolve({
      address,
      close: () => {
        this.#doors.delete(address);
        return Promise.resolve();
      },
    });
  }

  connect(address: string): Promise<Socket> {
    const door = this.#doors.get(address);
    if (door === undefined) return Promise.reject(new LatentmeshError("worker_lost", `Cannot connect to ${address}: nobody listens`));
    const [near, far] = MemorySocket.pair();
    void door(far);
    return Promise.resolve(near);
  }
}
