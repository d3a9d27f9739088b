/**
 * One epoch of a unit, as one of its ranks sees it: who may link, who has, and how they exchange. What is left of it when it has ended can name nobody in the next.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { Link } from "../../core/wire/link.ts";
import type { Feeder, Peer } from "../../core/wire/messages.ts";
import { WorkerError } from "../../core/wire/rpc.ts";
import { watchSilence } from "../../core/silence.ts";
import type { UnitRole } from "../../core/wire/protocol.ts";
import type { TlsFiles } from "../../core/wire/transport.ts";
import type { Collective, OtherRank } from "../collective/collective.ts";
import { SoloCollective } from "../collective/collective.ts";
import { SharedCollective } from "../collective/shared_collective.ts";
import { SharedLayout } from "../collective/shared_layout.ts";
import { type SharedMemory, whyNotShared } from "../collective/shared_memory.ts";
import { type Shared, shareMemory, type SharingFrame, SharingInbox, type SharingPeer } from "../collective/share_memory.ts";
import { openSumThread } from "../collective/open_sum_thread.ts";
import type { SumThread } from "../collective/sum_thread.ts";
import { ThreadedCollective } from "../collective/threaded_collective.ts";
import type { PeerRank } from "../collective/inbox.ts";
import { WebSocketCollective } from "../collective/websocket_collective.ts";

/** What a rank is. */
export interface RankIdentity {
  readonly worker: string;
  readonly role: UnitRole;
  readonly rank: number;
  readonly ranks: number;
}

/** How its unit exchanges. */
export interface ExchangeOptions {
  readonly wire: "f32" | "f16";
  /** `auto`: through shared memory where all ranks have it. */
  readonly exchange: "auto" | "shared-memory" | "websocket";
  readonly deadlineMs: number;
  /** Sums that go on side by side. */
  readonly lanes: number;
  /** Most values of a sum. */
  readonly sumValues: number;
  /** Why this rank cannot share memory, if that is known; by default it is looked. */
  readonly memoryObstacle?: string | null;
  /** How a thread of this rank's own opens its sockets for sums; null: it has none. */
  readonly sumThread: SumThreadPlace | null;
}

/** Where a thread of sums is reached. */
export interface SumThreadPlace {
  readonly listen: string;
  /** What others are told instead of where it listens. */
  readonly advertise: (address: string) => string;
  readonly tls: TlsFiles;
  /** Whether the host has processors to spare: then those that wait for each other keep one each, for microseconds, in steps. */
  readonly spare: boolean;
}

/** Values that go through memory at a time; larger sums take several exchanges. */
const MOST_SHARED_VALUES = 1 << 21;

function sharingPeers(peers: readonly PeerRank[]): SharingPeer[] {
  return peers.map(({ rank, worker, link }) => ({ rank, worker, send: (frame) => link.send(frame) }));
}

function otherRanks(peers: readonly PeerRank[]): OtherRank[] {
  return peers.map(({ rank, worker, link }) => ({ rank, worker, gone: link.closed }));
}

/** A rank's part in one epoch. */
export class UnitEpoch {
  readonly number: number;
  /** Every other rank, in rank order. */
  readonly peers: readonly Peer[];
  readonly #identity: RankIdentity;
  readonly #options: ExchangeOptions;
  readonly #expected: Map<string, Uint8Array<ArrayBuffer>>;
  readonly #rankLinks = new Map<number, Link>();
  readonly #links = new Set<Link>();
  readonly #sharing = new SharingInbox();
  #collectives: readonly Collective[];
  #segment: SharedMemory | null = null;
  #thread: SumThread | null = null;
  #notShared: string | null = null;
  #notThreaded: string | null = null;
  #ended: LatentmeshError | null = null;
  /** Woken when a peer has linked, or the epoch has ended. */
  #change: PromiseWithResolvers<void> = Promise.withResolvers();

  constructor(identity: RankIdentity, { epoch, peers }: { readonly epoch: number; readonly peers: readonly Peer[] }, options: ExchangeOptions) {
    this.number = epoch;
    this.#identity = identity;
    this.#options = options;
    this.peers = [...peers].sort((a, b) => a.rank - b.rank);
    this.#expected = new Map(peers.map(({ worker, secret }) => [worker, secret as Uint8Array<ArrayBuffer>]));
    this.#collectives = Array.from({ length: options.lanes }, () => new SoloCollective());
  }

  /** The sums of this epoch, one for each lane. */
  get collectives(): readonly Collective[] {
    return this.#collectives;
  }

  /** All links: of ranks, and with other units. */
  get links(): ReadonlySet<Link> {
    return this.#links;
  }

  /** Why sums do not go through shared memory, where that was tried. */
  get notShared(): string | null {
    return this.#notShared;
  }

  /** Why sums over WebSocket are not made in a thread of their own, where that was tried. */
  get notThreaded(): string | null {
    return this.#notThreaded;
  }

  /** Whether it is over. */
  get over(): boolean {
    return this.#ended !== null;
  }

  /** The link to another rank. */
  linkTo(rank: number): Link | undefined {
    return this.#rankLinks.get(rank);
  }

  /** Lets one more prefill worker in. */
  expect({ worker, secret }: Feeder): void {
    this.#expected.set(worker, secret as Uint8Array<ArrayBuffer>);
  }

  /** The secret of the link that a worker may open. */
  secretOf(worker: string): Uint8Array<ArrayBuffer> | null {
    return this.#expected.get(worker) ?? null;
  }

  /** Takes a link in, of a rank of this unit or of another one. @param onEnded told of links that end before the epoch does */
  adopt(link: Link, onEnded: (reason: LatentmeshError) => void): void {
    const peer = this.peers.find(({ worker }) => worker === link.identity.worker);
    this.#links.add(link);
    link.closed.then((reason) => {
      if (this.#links.delete(link) && !this.over) onEnded(reason);
    });
    if (peer !== undefined) this.#rankLinks.set(peer.rank, link);
    this.#changed();
  }

  /** Takes in what a rank says about shared memory. */
  share(rank: number, frame: SharingFrame): void {
    this.#sharing.put(rank, frame);
  }

  /** Bytes sent and received over all links. */
  get traffic(): { readonly sent: number; readonly received: number } {
    const total = { sent: 0, received: 0, ...this.#thread?.mailbox.traffic };
    for (const { counters } of this.#links) {
      total.sent += counters.sentBytes;
      total.received += counters.receivedBytes;
    }
    return total;
  }

  /** Resolves when every other rank has linked. @throws {WorkerError} naming one that did not, or `worker_lost` if the epoch ends before */
  async linked(): Promise<readonly PeerRank[]> {
    let late = false;
    const stop = watchSilence(this.#options.deadlineMs, () => {
      late = true;
      this.#changed();
    });
    try {
      while (this.#rankLinks.size < this.peers.length) {
        if (this.#ended !== null) throw this.#ended;
        if (late) throw this.#missing();
        await this.#change.promise;
      }
    } finally {
      stop();
    }
    const peers = this.peers.map(({ rank, worker }): PeerRank => ({ rank, worker, link: this.#rankLinks.get(rank)! }));
    for (const { link } of peers) void link.closed.then((reason) => this.#sharing.fail(reason));
    return peers;
  }

  /** Sums over WebSocket from now on, until {@link shareMemory}. */
  exchangeOverWebSocket(peers: readonly PeerRank[]): void {
    const { wire, deadlineMs, lanes } = this.#options;
    const options = { rank: this.#identity.rank, ranks: peers.length + 1, epoch: this.number, wire, deadlineMs };
    this.#collectives = Array.from({ length: lanes }, (_, lane) => new WebSocketCollective(peers, { ...options, lane }));
  }

  /** Sums through shared memory from now on, if all ranks can. @throws {LatentmeshError} `unsupported` if they must and cannot */
  async shareMemory(peers: readonly PeerRank[]): Promise<void> {
    const { wire, deadlineMs, lanes, sumValues, exchange, memoryObstacle = whyNotShared() } = this.#options;
    if (exchange === "websocket") return;
    const { rank, ranks } = this.#identity;
    const mostValues = Math.min(sumValues, MOST_SHARED_VALUES);
    const { bytes } = new SharedLayout({ ranks, lanes, mostValues, wire });
    const shared: Shared = await shareMemory(
      sharingPeers(peers),
      this.#sharing,
      { rank, epoch: this.number, bytes, deadlineMs, obstacle: memoryObstacle },
    );
    if (this.#ended !== null) {
      shared.segment?.close();
      throw this.#ended;
    }
    if (shared.segment === null) {
      this.#notShared = shared.problem;
      if (exchange === "auto") return;
      throw new LatentmeshError("unsupported", `Cannot exchange through shared memory: ${shared.problem}. Use decode.exchange auto or websocket.`);
    }
    this.#segment = shared.segment;
    const options = { rank, ranks, wire, deadlineMs, lanes, mostValues };
    this.#collectives = Array.from({ length: lanes }, (_, lane) => new SharedCollective(shared.segment, otherRanks(peers), { ...options, lane }));
  }

  /** Sums in a thread of its own from now on, if all ranks have one and parts travel over WebSocket. @param onBroken told of links that broke protocol */
  async openThread(peers: readonly PeerRank[], onBroken: (worker: string, reason: LatentmeshError) => void): Promise<void> {
    if (this.#segment !== null) return;
    const { wire, deadlineMs, lanes, sumValues, sumThread } = this.#options;
    const { worker, role, rank, ranks } = this.#identity;
    const mostValues = Math.min(sumValues, MOST_SHARED_VALUES);
    const opened = await openSumThread(sharingPeers(peers), this.#sharing, {
      worker,
      role,
      rank,
      epoch: this.number,
      shape: { ranks, lanes, mostValues, wire },
      deadlineMs,
      listen: sumThread?.listen ?? null,
      advertise: (address) => sumThread!.advertise(address),
      tls: sumThread?.tls ?? {},
      spare: sumThread?.spare ?? false,
      peers: this.peers,
      onBroken,
      onOpened: (thread) => {
        this.#thread = thread;
        if (this.#ended !== null) thread.end();
      },
    });
    if (this.#ended !== null) throw this.#ended;
    if (opened.thread === null) {
      this.#notThreaded = opened.problem;
      return;
    }
    const { thread } = opened;
    const options = { rank, ranks, wire, lanes, mostValues, spare: sumThread!.spare };
    this.#collectives = Array.from({ length: lanes }, (_, lane) => new ThreadedCollective(thread, otherRanks(peers), { ...options, lane }));
  }

  /** What waits for its ranks fails, its links close. */
  end(): void {
    if (this.#ended !== null) return;
    this.#ended = new LatentmeshError("worker_lost", `Epoch ${this.number} of the unit is over`);
    for (const collective of this.#collectives) collective.abort(this.#ended);
    this.#sharing.fail(this.#ended);
    this.#changed();
    for (const link of [...this.#links]) link.close();
    this.#links.clear();
    this.#expected.clear();
    this.#segment?.close();
    this.#segment = null;
    this.#thread?.end();
    this.#thread = null;
  }

  #changed(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }

  #missing(): WorkerError {
    const { rank, worker } = this.peers.find(({ rank }) => !this.#rankLinks.has(rank))!;
    return new WorkerError("timeout", `Rank ${rank} (worker ${worker}) did not connect within ${this.#options.deadlineMs} ms`, worker);
  }
}
