/**
 * Which links a rank has in the current epoch of its unit: to the unit's other ranks, from prefill workers, and to decode groups. A new epoch drops them all.
 *
 * @module
 */
import { LatentmeshError } from "../core/errors.ts";
import type { PeerIdentity } from "../core/wire/handshake.ts";
import { connectLink, type Link } from "../core/wire/link.ts";
import { type Feeder, parseMessage, type Peer, type PeerFrame, peerFrameSchema } from "../core/wire/messages.ts";
import type { Role } from "../core/wire/protocol.ts";
import { WorkerError } from "../core/wire/rpc.ts";
import type { Transport } from "../core/wire/transport.ts";
import { type Collective, SoloCollective } from "./collective.ts";
import { NetworkCollective, type PeerRank } from "./network_collective.ts";

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
  readonly deadlineMs: number;
  /** Sums that go on side by side. */
  readonly lanes: number;
}

/** What prefill workers send is taken in here. */
export type OnPeerFrame = (frame: Exclude<PeerFrame, { kind: "partial" }>, payload: Uint8Array<ArrayBuffer>, link: Link) => void;

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
    for (const collective of this.#collectives) collective.abort(new LatentmeshError("worker_lost", `Epoch ${this.#epoch} of the unit is over`));
    this.#collectives = this.#alone();
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
    const deadline = setTimeout(() => this.#arrival.reject(this.#missing()), this.#options.deadlineMs);
    try {
      while (this.#rankLinks.size < ranks - 1) await this.#arrival.promise;
    } finally {
      clearTimeout(deadline);
      this.#arrival = Promise.withResolvers();
    }
    const peers = this.#peers.map(({ rank, worker }): PeerRank => ({ rank, worker, link: this.#rankLinks.get(rank)! })).sort((a, b) =>
      a.rank - b.rank
    );
    const { wire, deadlineMs, lanes } = this.#options;
    const options = { rank, ranks, epoch: this.#epoch, wire, deadlineMs };
    this.#collectives = Array.from({ length: lanes }, (_, lane) => new NetworkCollective(peers, { ...options, lane }));
    for (const { rank, link } of peers) this.#listen(link, rank);
    return this.#collectives;
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
      if (frame.kind !== "partial") return this.#onFrame(frame, payload, link);
      if (rank === null) throw new LatentmeshError("protocol", "Partial results came from a worker that is not a rank of this unit");
      this.checkEpoch(frame.epoch);
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
