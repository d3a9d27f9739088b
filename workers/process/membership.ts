/**
 * Which links a rank has in the current epoch of its unit: to the unit's other ranks, from prefill workers, and to decode groups. A new epoch drops them all.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { PeerIdentity } from "../../core/wire/handshake.ts";
import { connectLink, type Link } from "../../core/wire/link.ts";
import { type Feeder, parseMessage, type Peer, type PeerFrameOf, peerFrameSchema } from "../../core/wire/messages.ts";
import type { Transport } from "../../core/wire/transport.ts";
import type { Collective } from "../collective/collective.ts";
import { peerProblem } from "./peer_problem.ts";
import { type ExchangeOptions, type RankIdentity, UnitEpoch } from "./unit_epoch.ts";

/** What prefill workers and decode ranks send each other is taken in here. */
export type OnPeerFrame = (
  frame: PeerFrameOf<"latents" | "ack" | "rejected" | "segment" | "mapped">,
  payload: Uint8Array<ArrayBuffer>,
  link: Link,
) => void;

/** Links of one rank. */
export class Membership {
  readonly identity: RankIdentity;
  readonly #transport: Transport;
  readonly #options: ExchangeOptions;
  readonly #onFrame: OnPeerFrame;
  readonly #onBroken: (worker: string, reason: LatentmeshError) => void;
  #current: UnitEpoch;
  /** Totals of the collectives of former epochs. */
  #before = { exchanges: 0, exchangeMs: 0 };

  /** @param onBroken told of workers whose links ended otherwise than by a new epoch */
  constructor(
    identity: RankIdentity,
    transport: Transport,
    options: ExchangeOptions,
    onFrame: OnPeerFrame,
    onBroken: (worker: string, reason: LatentmeshError) => void,
  ) {
    this.identity = identity;
    this.#transport = transport;
    this.#options = options;
    this.#onFrame = onFrame;
    this.#onBroken = onBroken;
    this.#current = new UnitEpoch(identity, { epoch: 0, peers: [] }, options);
  }

  get epoch(): number {
    return this.#current.number;
  }

  /** The sums of the current epoch, one for each lane. */
  get collectives(): readonly Collective[] {
    return this.#current.collectives;
  }

  /** Why sums do not go through shared memory, where that was tried. */
  get notShared(): string | null {
    return this.#current.notShared;
  }

  /** Why sums over WebSocket are not made in a thread of their own, where that was tried. */
  get notThreaded(): string | null {
    return this.#current.notThreaded;
  }

  /** Sums so far, in all epochs. */
  get exchanges(): number {
    return this.collectives.reduce((sum, { exchanges }) => sum + exchanges, this.#before.exchanges);
  }

  /** Milliseconds spent waiting in them. */
  get exchangeMs(): number {
    return this.collectives.reduce((sum, { exchangeMs }) => sum + exchangeMs, this.#before.exchangeMs);
  }

  /** Bytes sent and received over the current links. */
  get traffic(): { readonly sent: number; readonly received: number } {
    return this.#current.traffic;
  }

  /** The link to another rank in the current epoch. */
  linkTo(rank: number): Link | undefined {
    return this.#current.linkTo(rank);
  }

  /** Throws unless `epoch` is the current one. */
  checkEpoch(epoch: number): void {
    if (epoch !== this.epoch) throw new LatentmeshError("protocol", `Epoch ${epoch} is over; ${this.identity.worker} is in epoch ${this.epoch}`);
  }

  /** Ends the current epoch: what waits for its ranks fails, its links close. */
  leave(): void {
    const { exchanges, exchangeMs } = this;
    this.#current.end();
    this.#before = { exchanges, exchangeMs };
    this.#current = new UnitEpoch(this.identity, { epoch: this.epoch, peers: [] }, this.#options);
  }

  /** Begins an epoch: from now on its peers are let in. */
  join(epoch: { readonly epoch: number; readonly peers: readonly Peer[] }): void {
    this.leave();
    this.#current = new UnitEpoch(this.identity, epoch, this.#options);
  }

  /** Lets one more prefill worker in. */
  expect(feeder: Feeder): void {
    this.#current.expect(feeder);
  }

  /** The secret of the link that a worker may open. */
  secretOf({ worker }: PeerIdentity): Uint8Array<ArrayBuffer> | null {
    return this.#current.secretOf(worker);
  }

  /** Takes in a link that another worker opened. */
  accept(link: Link): void {
    this.#adopt(this.#current, link);
  }

  /**
   * Connects to all lower ranks, waits for the higher ones, and agrees on how to exchange.
   *
   * @throws {WorkerError} naming the rank that did not come
   */
  async connect(): Promise<readonly Collective[]> {
    const { rank, ranks } = this.identity;
    const epoch = this.#current;
    if (ranks === 1) return epoch.collectives;
    for (const peer of epoch.peers) if (peer.rank < rank) this.#adopt(epoch, await this.#open(peer));
    const peers = await epoch.linked();
    epoch.exchangeOverWebSocket(peers);
    for (const { rank, link } of peers) this.#listen(epoch, link, rank);
    await epoch.shareMemory(peers);
    await epoch.openThread(peers, this.#onBroken);
    return epoch.collectives;
  }

  /** Opens a link to a decode rank. */
  async attach(peer: Peer): Promise<Link> {
    const epoch = this.#current;
    const link = await this.#open(peer);
    this.#adopt(epoch, link);
    return link;
  }

  async #open(peer: Peer): Promise<Link> {
    const { worker, role } = this.identity;
    const socket = await this.#transport.connect(peer.address).catch((error) => Promise.reject(peerProblem(error, peer)));
    return await connectLink(socket, { worker, role }, peer.secret as Uint8Array<ArrayBuffer>, peer.worker);
  }

  /** Ranks of the unit are listened to when all are there. */
  #adopt(epoch: UnitEpoch, link: Link): void {
    if (epoch.over) return link.close();
    epoch.adopt(link, (reason) => this.#onBroken(link.identity.worker, reason));
    if (epoch.peers.every(({ worker }) => worker !== link.identity.worker)) this.#listen(epoch, link, null);
  }

  /** @param rank of a peer that takes part in the collective */
  #listen(epoch: UnitEpoch, link: Link, rank: number | null): void {
    link.listen(({ message, payload }) => {
      const frame = parseMessage(peerFrameSchema, message);
      if (frame.kind === "latents" || frame.kind === "ack" || frame.kind === "rejected") return this.#onFrame(frame, payload, link);
      if (rank === null && (frame.kind === "segment" || frame.kind === "mapped")) return this.#onFrame(frame, payload, link);
      if (rank === null) throw new LatentmeshError("protocol", `"${frame.kind}" came from a worker that is not a rank of this unit`);
      this.checkEpoch(frame.epoch);
      if (frame.kind !== "partial") return epoch.share(rank, frame);
      const collective = epoch.collectives[frame.lane];
      if (collective === undefined) throw new LatentmeshError("protocol", `There is no lane ${frame.lane} here`);
      collective.receive(rank, frame, payload);
    });
  }
}
