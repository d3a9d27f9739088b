/**
 * Which links a rank has in the current epoch of its unit: to the unit's other ranks, from prefill workers, and to decode groups. A new epoch drops them all.
 *
 * @module
 */
import { LatentmeshError } from "../core/errors.ts";
import type { PeerIdentity } from "../core/wire/handshake.ts";
import { connectLink, type Link } from "../core/wire/link.ts";
import { type Feeder, parseMessage, type Peer, type PeerFrame, peerFrameSchema } from "../core/wire/messages.ts";
import { watchSilence } from "../core/silence.ts";
import type { Role } from "../core/wire/protocol.ts";
import { WorkerError } from "../core/wire/rpc.ts";
import type { Transport } from "../core/wire/transport.ts";
import { type Collective, SoloCollective } from "./collective/collective.ts";
import { SharedCollective } from "./collective/shared_collective.ts";
import { SharedLayout } from "./collective/shared_layout.ts";
import { type SharedMemory, whyNotShared } from "./collective/shared_memory.ts";
import { type Shared, shareMemory, SharingInbox } from "./collective/share_memory.ts";
import { type PeerRank, WebSocketCollective } from "./collective/websocket_collective.ts";

/** What a rank is. */
export interface RankIdentity {
  readonly worker: string;
  readonly role: Extract<Role, "prefill" | "decode">;
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
}

/** What prefill workers send is taken in here. */
export type OnPeerFrame = (
  frame: Extract<PeerFrame, { kind: "latents" | "ack" | "rejected" }>,
  payload: Uint8Array<ArrayBuffer>,
  link: Link,
) => void;

/** Values that go through shared memory at a time; larger sums take several exchanges. */
const MOST_SHARED_VALUES = 1 << 21;

/** Links of one rank. */
export class Membership {
  readonly identity: RankIdentity;
  readonly #transport: Transport;
  readonly #options: ExchangeOptions;
  readonly #onFrame: OnPeerFrame;
  readonly #onBroken: (link: Link, reason: LatentmeshError) => void;
  #epoch = 0;
  #peers: readonly Peer[] = [];
  #expected = new Map<string, Uint8Array<ArrayBuffer>>();
  #rankLinks = new Map<number, Link>();
  readonly #links = new Set<Link>();
  #collectives: readonly Collective[];
  #segment: SharedMemory | null = null;
  #sharing = new SharingInbox();
  #notShared: string | null = null;
  /** Totals of the collectives of former epochs. */
  #before = { exchanges: 0, exchangeMs: 0 };
  /** Woken when a peer has connected. */
  #arrival: PromiseWithResolvers<void> = Promise.withResolvers();

  /** @param onBroken told of links that ended otherwise than by a new epoch */
  constructor(
    identity: RankIdentity,
    transport: Transport,
    options: ExchangeOptions,
    onFrame: OnPeerFrame,
    onBroken: (link: Link, reason: LatentmeshError) => void,
  ) {
    this.identity = identity;
    this.#transport = transport;
    this.#options = options;
    this.#onFrame = onFrame;
    this.#onBroken = onBroken;
    this.#collectives = this.#alone();
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** The sums of the current epoch, one for each lane. */
  get collectives(): readonly Collective[] {
    return this.#collectives;
  }

  /** Why sums do not go through shared memory, where that was tried. */
  get notShared(): string | null {
    return this.#notShared;
  }

  /** Sums so far, in all epochs. */
  get exchanges(): number {
    return this.#collectives.reduce((sum, { exchanges }) => sum + exchanges, this.#before.exchanges);
  }

  /** Milliseconds spent waiting in them. */
  get exchangeMs(): number {
    return this.#collectives.reduce((sum, { exchangeMs }) => sum + exchangeMs, this.#before.exchangeMs);
  }

  /** Bytes sent and received over the current links. */
  get traffic(): { sent: number; received: number } {
    const total = { sent: 0, received: 0 };
    for (const { counters } of this.#links) {
      total.sent += counters.sentBytes;
      total.received += counters.receivedBytes;
    }
    return total;
  }

  /** The link to another rank in the current epoch. */
  linkTo(rank: number): Link | undefined {
    return this.#rankLinks.get(rank);
  }

  /** Throws unless `epoch` is the current one. */
  checkEpoch(epoch: number): void {
    if (epoch !== this.#epoch) throw new LatentmeshError("protocol", `Epoch ${epoch} is over; ${this.identity.worker} is in epoch ${this.#epoch}`);
  }

  /** Ends the old epoch: what waits for its ranks fails, its links close. */
  leave(): void {
    const { exchanges, exchangeMs } = this;
    this.#before = { exchanges, exchangeMs };
    const reason = new LatentmeshError("worker_lost", `Epoch ${this.#epoch} of the unit is over`);
    for (const collective of this.#collectives) collective.abort(reason);
    this.#sharing.fail(reason);
    this.#sharing = new SharingInbox();
    this.#notShared = null;
    this.#collectives = this.#alone();
    this.#segment?.close();
    this.#segment = null;
    const links = [...this.#links];
    this.#links.clear();
    for (const link of links) link.close();
    this.#rankLinks.clear();
    this.#expected.clear();
  }

  /** Begins an epoch: from now on its peers are let in. */
  join({ epoch, peers }: { readonly epoch: number; readonly peers: readonly Peer[] }): void {
    this.leave();
    this.#epoch = epoch;
    this.#peers = peers;
    this.#expected = new Map(peers.map(({ worker, secret }) => [worker, secret as Uint8Array<ArrayBuffer>]));
  }

  /** Lets one more prefill worker in. */
  expect({ worker, secret }: Feeder): void {
    this.#expected.set(worker, secret as Uint8Array<ArrayBuffer>);
  }

  /** The secret of the link that a worker may open. */
  secretOf({ worker }: PeerIdentity): Uint8Array<ArrayBuffer> | null {
    return this.#expected.get(worker) ?? null;
  }

  /** Takes in a link that another worker opened. */
  accept(link: Link): void {
    const peer = this.#peers.find(({ worker }) => worker === link.identity.worker);
    if (peer === undefined) this.#adopt(link);
    else this.#adoptRank(link, peer);
  }

  /**
   * Connects to all lower ranks and waits for the higher ones.
   *
   * @throws {WorkerError} naming the rank that did not come
   */
  async connect(): Promise<readonly Collective[]> {
    const { rank, ranks } = this.identity;
    if (ranks === 1) return this.#collectives;
    for (const peer of this.#peers) if (peer.rank < rank) this.#adoptRank(await this.#open(peer), peer);
    const stop = watchSilence(this.#options.deadlineMs, () => this.#arrival.reject(this.#missing()));
    try {
      while (this.#rankLinks.size < ranks - 1) await this.#arrival.promise;
    } finally {
      stop();
      this.#arrival = Promise.withResolvers();
    }
    const peers = this.#peers.map(({ rank, worker }): PeerRank => ({ rank, worker, link: this.#rankLinks.get(rank)! })).sort((a, b) =>
      a.rank - b.rank
    );
    this.#collectives = this.#overWebSocket(peers);
    for (const { rank, link } of peers) this.#listen(link, rank);
    if (this.#options.exchange !== "websocket") await this.#shareMemory(peers);
    return this.#collectives;
  }

  #overWebSocket(peers: readonly PeerRank[]): Collective[] {
    const { wire, deadlineMs, lanes } = this.#options;
    const { rank, ranks } = this.identity;
    const options = { rank, ranks, epoch: this.#epoch, wire, deadlineMs };
    return Array.from({ length: lanes }, (_, lane) => new WebSocketCollective(peers, { ...options, lane }));
  }

  /** Exchanges through shared memory from now on, if all ranks can. @throws {LatentmeshError} `unsupported` if they must and cannot */
  async #shareMemory(peers: readonly PeerRank[]): Promise<void> {
    const { wire, deadlineMs, lanes, sumValues, exchange, memoryObstacle = whyNotShared() } = this.#options;
    const { rank, ranks } = this.identity;
    const mostValues = Math.min(sumValues, MOST_SHARED_VALUES);
    const { bytes } = new SharedLayout({ ranks, lanes, mostValues, wire });
    const [epoch, sharing] = [this.#epoch, this.#sharing];
    for (const { link } of peers) void link.closed.then((reason) => sharing.fail(reason));
    const shared: Shared = await shareMemory(
      peers.map(({ rank, worker, link }) => ({ rank, worker, send: (frame) => link.send(frame) })),
      sharing,
      { rank, epoch, bytes, deadlineMs, obstacle: memoryObstacle },
    );
    if (epoch !== this.#epoch) {
      shared.segment?.close();
      throw new LatentmeshError("worker_lost", `Epoch ${epoch} of the unit is over`);
    }
    if (shared.segment === null) {
      this.#notShared = shared.problem;
      if (exchange === "auto") return;
      throw new LatentmeshError("unsupported", `Cannot exchange through shared memory: ${shared.problem}. Use decode.exchange auto or websocket.`);
    }
    this.#segment = shared.segment;
    const options = { rank, ranks, wire, deadlineMs, lanes, mostValues };
    const others = peers.map(({ rank, worker, link }) => ({ rank, worker, gone: link.closed }));
    this.#collectives = Array.from({ length: lanes }, (_, lane) => new SharedCollective(shared.segment, others, { ...options, lane }));
  }

  /** Opens a link to a decode rank. */
  async attach(peer: Peer): Promise<Link> {
    const link = await this.#open(peer);
    this.#adopt(link);
    return link;
  }

  async #open(peer: Peer): Promise<Link> {
    const { worker, role } = this.identity;
    const socket = await this.#transport.connect(peer.address);
    return await connectLink(socket, { worker, role }, peer.secret as Uint8Array<ArrayBuffer>, peer.worker);
  }

  #adopt(link: Link): void {
    this.#hold(link);
    this.#listen(link, null);
  }

  #hold(link: Link): void {
    this.#links.add(link);
    link.closed.then((reason) => {
      // A new epoch forgets its links before it closes them.
      if (this.#links.delete(link)) this.#onBroken(link, reason);
    });
  }

  #adoptRank(link: Link, { rank }: Peer): void {
    this.#hold(link);
    this.#rankLinks.set(rank, link);
    this.#arrival.resolve();
    this.#arrival = Promise.withResolvers();
  }

  /** @param rank of a peer that takes part in the collective */
  #listen(link: Link, rank: number | null): void {
    link.listen(({ message, payload }) => {
      const frame = parseMessage(peerFrameSchema, message);
      if (frame.kind === "latents" || frame.kind === "ack" || frame.kind === "rejected") return this.#onFrame(frame, payload, link);
      if (rank === null) throw new LatentmeshError("protocol", `"${frame.kind}" came from a worker that is not a rank of this unit`);
      this.checkEpoch(frame.epoch);
      if (frame.kind !== "partial") return this.#sharing.put(rank, frame);
      const collective = this.#collectives[frame.lane];
      if (collective === undefined) throw new LatentmeshError("protocol", `There is no lane ${frame.lane} here`);
      collective.receive(rank, frame, payload);
    });
  }

  #alone(): Collective[] {
    return Array.from({ length: this.#options.lanes }, () => new SoloCollective());
  }

  #missing(): WorkerError {
    const absent = this.#peers.find(({ rank }) => !this.#rankLinks.has(rank))!;
    return new WorkerError(
      "timeout",
      `Rank ${absent.rank} (worker ${absent.worker}) did not connect within ${this.#options.deadlineMs} ms`,
      absent.worker,
    );
  }
}
