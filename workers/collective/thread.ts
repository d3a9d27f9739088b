/**
 * The thread that holds a rank's links of sums: it listens, links, and answers what its rank asks through their mailbox. Its event loop is its own, so that what is
 * sent leaves at once, and what comes is seen at once, whatever the rank is doing.
 *
 * @module
 */
/// <reference lib="deno.worker" />
import { asLatentmeshError, LatentmeshError } from "../../core/errors.ts";
import { watchSilence } from "../../core/silence.ts";
import { acceptLink, connectLink, type Link } from "../../core/wire/link.ts";
import { parseMessage, peerFrameSchema } from "../../core/wire/messages.ts";
import { WorkerError } from "../../core/wire/rpc.ts";
import { DenoTransport } from "../links/transport.ts";
import { type MailboxLane, SumMailbox } from "./sum_mailbox.ts";
import type { FromSumThread, SumThreadOptions, ToSumThread } from "./thread_messages.ts";
import type { PeerRank } from "./inbox.ts";
import { WebSocketCollective } from "./websocket_collective.ts";

const scope = self as DedicatedWorkerGlobalScope;
const tell = (message: FromSumThread) => scope.postMessage(message);

/** Milliseconds after a sum in which the next one of the same step is asked for, most likely. */
const POLLING = 1;

/** Links and sums of one epoch. */
class Sums {
  readonly #options: SumThreadOptions;
  readonly #transport: DenoTransport;
  readonly #mailbox: SumMailbox;
  readonly #links = new Map<number, Link>();
  #linked = Promise.withResolvers<void>();
  #collectives: readonly WebSocketCollective[] = [];

  constructor(options: SumThreadOptions, memory: SharedArrayBuffer) {
    this.#options = options;
    this.#transport = new DenoTransport(options.tls);
    this.#mailbox = new SumMailbox(options.shape, memory);
  }

  async listen(): Promise<string> {
    const { listen, peers } = this.#options;
    const secretOf = (worker: string) => peers.find((peer) => peer.worker === worker)?.secret as Uint8Array<ArrayBuffer> | undefined;
    const { address } = await this.#transport.listen(listen, async (socket) => {
      try {
        this.#adopt(await acceptLink(socket, ({ worker }) => secretOf(worker) ?? null));
      } catch {
        // Who was turned away knows why, and a rank that does not come is missed.
      }
    });
    return address;
  }

  /** Links to lower ranks, waits for the others, and sums from then on. */
  async link(lower: readonly string[]): Promise<void> {
    const { worker, role, rank, epoch, deadlineMs, peers, spare, shape: { ranks, wire, lanes } } = this.#options;
    for (const [i, address] of lower.entries()) {
      const { worker: other, secret } = peers[i];
      this.#adopt(await connectLink(await this.#transport.connect(address), { worker, role }, secret as Uint8Array<ArrayBuffer>, other));
    }
    await this.#everybody();
    const ends = peers.map(({ rank, worker }): PeerRank => ({ rank, worker, link: this.#links.get(rank)! }));
    const options = { rank, ranks, epoch, wire, deadlineMs };
    this.#collectives = Array.from({ length: lanes }, (_, lane) => new WebSocketCollective(ends, { ...options, lane }));
    for (const { rank, link } of ends) this.#hear(rank, link);
    // Where lanes go side by side, one's turns are what the other's sockets need.
    const polling = spare && lanes === 1 ? POLLING : 0;
    for (const lane of this.#mailbox.lanes) void lane.serve(polling, (values, whole) => this.#answer(lane, values, whole));
  }

  #adopt(link: Link): void {
    const { worker } = link.identity;
    const peer = this.#options.peers.find((peer) => peer.worker === worker)!;
    void link.closed.then((reason) => {
      if (reason.code === "protocol") tell({ kind: "broken", worker, message: reason.message });
    });
    this.#links.set(peer.rank, link);
    this.#linked.resolve();
  }

  async #everybody(): Promise<void> {
    const { peers, deadlineMs } = this.#options;
    const stop = watchSilence(deadlineMs, () => {
      const { rank, worker } = peers.find(({ rank }) => !this.#links.has(rank))!;
      this.#linked.reject(new WorkerError("timeout", `Rank ${rank} (worker ${worker}) did not connect to sum within ${deadlineMs} ms`, worker));
    });
    try {
      while (this.#links.size < peers.length) {
        await this.#linked.promise;
        this.#linked = Promise.withResolvers();
      }
    } finally {
      stop();
    }
  }

  #hear(rank: number, link: Link): void {
    link.listen(({ message, payload }) => {
      const frame = parseMessage(peerFrameSchema, message);
      const { epoch } = this.#options;
      if (frame.kind !== "partial") throw new LatentmeshError("protocol", `"${frame.kind}" came over a link of sums`);
      if (frame.epoch !== epoch) throw new LatentmeshError("protocol", `Epoch ${frame.epoch} is over; this is epoch ${epoch}`);
      const collective = this.#collectives[frame.lane];
      if (collective === undefined) throw new LatentmeshError("protocol", `There is no lane ${frame.lane} here`);
      collective.receive(rank, frame, payload);
    }, (frame) => this.#collectives.some((collective) => collective.receiveEncoded(rank, frame)));
  }

  async #answer(lane: MailboxLane, values: number, whole: number): Promise<void> {
    const collective = this.#collectives[lane.index];
    try {
      collective.input(values).set(lane.own(values));
      const pending = collective.exchange(values, whole);
      // Awaiting what is no promise would let others go first.
      const exchanged = pending instanceof Promise ? await pending : pending;
      if ("sum" in exchanged) lane.sum(values).set(exchanged.sum);
      // Nobody here takes parts before.
      else exchanged.parts.forEach((part, other) => lane.part(other, values).set(part!));
      this.#count();
      lane.reply("sum" in exchanged ? "sum" : "parts");
    } catch (error) {
      fail(error);
      lane.reply("failed");
    }
  }

  #count(): void {
    const traffic = { sent: 0, received: 0 };
    for (const { counters } of this.#links.values()) {
      traffic.sent += counters.sentBytes;
      traffic.received += counters.receivedBytes;
    }
    this.#mailbox.traffic = traffic;
  }
}

function fail(error: unknown): void {
  const { code, message } = asLatentmeshError(error);
  tell({ kind: "failed", failure: { code, message, silent: error instanceof WorkerError ? error.silent : null } });
}

let sums: Sums | null = null;

scope.onmessage = async ({ data }: MessageEvent<ToSumThread>) => {
  try {
    if (data.kind === "open") {
      sums = new Sums(data.options, data.memory);
      tell({ kind: "listening", address: await sums.listen() });
    } else {
      await sums!.link(data.lower);
      tell({ kind: "linked" });
    }
  } catch (error) {
    fail(error);
  }
};
