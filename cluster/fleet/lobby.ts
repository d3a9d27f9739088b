/**
 * Where workers arrive: authenticates them, hears their hello, and turns away by name those that do not fit.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { acceptLink } from "../../core/wire/link.ts";
import type { Hello, Notice } from "../../core/wire/messages.ts";
import { RpcClient } from "../../core/wire/rpc.ts";
import type { Listener, Socket, Transport } from "../../core/wire/transport.ts";
import { log } from "../logs/log.ts";
import { RepeatedLog } from "../logs/repeated_log.ts";

/** A worker that has said hello. */
export interface Arrival {
  readonly worker: string;
  readonly client: RpcClient;
  readonly hello: Hello;
}

/** Options of {@link Lobby.open}. */
export interface LobbyOptions {
  readonly addresses: readonly string[];
  readonly token: Uint8Array<ArrayBuffer>;
  /** Throws if a worker cannot be used. */
  checkWorker(worker: string, hello: Hello): void;
  onArrival(arrival: Arrival): void;
  /** What a worker says after its hello. */
  onNotice(worker: string, notice: Exclude<Notice, Hello>): void;
}

/** Milliseconds between connection and hello. */
const HELLO_TIMEOUT = 5000;

/** Listens for workers. */
export class Lobby {
  readonly addresses: readonly string[];
  readonly #listeners: readonly Listener[];

  private constructor(listeners: readonly Listener[]) {
    this.#listeners = listeners;
    this.addresses = listeners.map(({ address }) => address);
  }

  static async open(transport: Transport, options: LobbyOptions): Promise<Lobby> {
    const listeners: Listener[] = [];
    const refused = new RepeatedLog();
    const waiting = new Set<string>();
    const meetOne = (socket: Socket) =>
      meet(socket, options, waiting, (reason) => refused.say(`refused a connection from ${socket.from ?? "this host"}: ${reason}`));
    for (const address of options.addresses) listeners.push(await transport.listen(address, meetOne));
    return new Lobby(listeners);
  }

  async close(): Promise<void> {
    for (const listener of this.#listeners) await listener.close();
  }
}

/** @param waiting hosts of workers that there was no place for, as far as that has been told */
async function meet(
  socket: Socket,
  { token, checkWorker, onArrival, onNotice }: LobbyOptions,
  waiting: Set<string>,
  onRefused: (reason: string) => void,
): Promise<void> {
  try {
    const link = await acceptLink(socket, ({ role }) => role === "worker" ? token : null);
    const { worker } = link.identity;
    const timer = setTimeout(() => link.close(new LatentmeshError("timeout", "No hello came")), HELLO_TIMEOUT);
    link.closed.then(() => clearTimeout(timer));
    let arrived = false;
    const client = new RpcClient(link, (notice) => {
      if (notice.kind !== "hello") return arrived ? onNotice(worker, notice) : link.close(new LatentmeshError("protocol", "Say hello first"));
      clearTimeout(timer);
      if (arrived) throw new LatentmeshError("protocol", "A worker says hello once");
      try {
        checkWorker(worker, notice);
      } catch (error) {
        // Who has to wait asks again and again; that is worth telling once.
        const waits = error instanceof LatentmeshError && error.code === "capacity";
        log(waits && waiting.has(notice.host) ? "debug" : "warn", `refused worker ${worker} of host ${notice.host}: ${messageOf(error)}`);
        if (waits) waiting.add(notice.host);
        throw error;
      }
      arrived = true;
      waiting.delete(notice.host);
      onArrival({ worker, client, hello: notice });
    });
  } catch (error) {
    onRefused(messageOf(error));
  }
}
