/**
 * The exchange between processes over WebSocket, which works between hosts and is what other ways are compared to. Up to four ranks, and few values: every rank
 * sends its part to every other, one hop, and whoever consumes the sum adds them. Above, each rank sums one block of the tensor and sends the sum to all:
 * reduce-scatter, then all-gather.
 *
 * Copies of a part: device → frame (readback), frame → socket, socket → message (each message is memory of its own, which Deno's WebSocket allocates), message →
 * device (upload). Frames and sums are allocated once.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { Range } from "../../core/model/matrix_source.ts";
import { blockOf } from "../../core/tpla/partition.ts";
import { ReusableFrame } from "../../core/wire/codec.ts";
import type { Link } from "../../core/wire/link.ts";
import { checkTensor, dtypeBytes, type PeerFrameOf } from "../../core/wire/messages.ts";
import { MOST_EXCHANGES } from "../../core/wire/protocol.ts";
import { WorkerError } from "../../core/wire/rpc.ts";
import { addInto, type Collective, type Exchanged, rankGone } from "./collective.ts";
import { watchSilence } from "../../core/silence.ts";

/** A rank on the other end of a link. */
export interface PeerRank {
  readonly rank: number;
  readonly worker: string;
  readonly link: Link;
}

/** Options of {@link WebSocketCollective}. */
export interface WebSocketCollectiveOptions {
  readonly rank: number;
  readonly ranks: number;
  readonly epoch: number;
  readonly wire: "f32" | "f16";
  /** A rank that is silent for longer ends the step. */
  readonly deadlineMs: number;
  /** Which half of a step it sums. */
  readonly lane: number;
}

/** Most ranks that exchange in one hop. */
const MOST_DIRECT_RANKS = 4;
/** Most values that three and four ranks exchange in one hop: 1 MiB of f32. Two have the same to send either way. */
const MOST_DIRECT_VALUES = 1 << 18;
/** Values that travel in one frame: 8 MiB of f32. */
const FRAME_VALUES = 1 << 21;

type Values = Float32Array<ArrayBuffer> | Float16Array<ArrayBuffer>;

/** One rank's end of the exchange. */
export class WebSocketCollective implements Collective {
  readonly by = "websocket";
  readonly travels = "in turns";
  readonly rank: number;
  readonly ranks: number;
  readonly wire: "f32" | "f16";
  readonly mostValues = FRAME_VALUES;
  exchanges = 0;
  exchangeMs = 0;
  #waits: number[] = [];
  /** Frames so far, in lockstep on all ranks. */
  #turn = 0;
  readonly #options: WebSocketCollectiveOptions;
  readonly #inboxes: readonly Inbox[];
  /** Its payload is what {@link input} gives. */
  #frame = new ReusableFrame(0);
  #frameValues = 0;
  /** What blocks are sent in. */
  #blockFrame = new ReusableFrame(0);
  #blockValues = 0;
  #sum: Float32Array<ArrayBuffer> = new Float32Array(0);

  /** @param peers every other rank, in rank order */
  constructor(peers: readonly PeerRank[], options: WebSocketCollectiveOptions) {
    this.rank = options.rank;
    this.ranks = options.ranks;
    this.wire = options.wire;
    this.#options = options;
    this.#inboxes = peers.map((peer) => new Inbox(peer, options.deadlineMs));
  }

  receive(rank: number, frame: PeerFrameOf<"partial">, payload: Uint8Array<ArrayBuffer>): void {
    this.#inbox(rank).put(frame, payload);
  }

  takeWaits(): number[] {
    const waits = this.#waits;
    this.#waits = [];
    return waits;
  }

  abort(reason: LatentmeshError): void {
    for (const inbox of this.#inboxes) inbox.fail(reason);
  }

  input(values: number): Uint8Array<ArrayBuffer> {
    if (values > this.#frameValues) {
      this.#frame = new ReusableFrame(values * 4);
      this.#frameValues = values;
    }
    return this.#frame.payload(values * dtypeBytes(this.wire));
  }

  async exchange(values: number, whole: number = values): Promise<Exchanged> {
    const started = performance.now();
    const exchanged = this.#isDirect(whole) ? await this.#exchangeParts(values) : { sum: await this.#reduceInBlocks(values) };
    this.exchanges++;
    const waited = performance.now() - started;
    this.exchangeMs += waited;
    this.#waits.push(waited);
    return exchanged;
  }

  #isDirect(values: number): boolean {
    return this.ranks === 2 || this.ranks <= MOST_DIRECT_RANKS && values <= MOST_DIRECT_VALUES;
  }

  /** One hop: everything to everybody. */
  async #exchangeParts(values: number): Promise<Exchanged> {
    const turn = this.#nextTurn();
    this.#send(this.#inboxes, this.#frame, turn, values);
    const parts: Uint8Array<ArrayBuffer>[] = [];
    for (const inbox of this.#inboxes) parts.push(await this.#receiveFrom(inbox, turn, values));
    return { parts };
  }

  async #reduceInBlocks(values: number): Promise<Float32Array<ArrayBuffer>> {
    if (this.#sum.length < values) this.#sum = new Float32Array(values);
    const sum = this.#sum.subarray(0, values);
    const own = viewOf(this.input(values), this.wire);
    const block = (rank: number): Range => blockOf(values, this.ranks, rank);
    const part = <V extends Values>(of: V, rank: number) => of.subarray(block(rank).begin, block(rank).end) as V;
    const [scatter, gather] = [this.#nextTurn(), this.#nextTurn()];
    for (const inbox of this.#inboxes) this.#sendBlock([inbox], scatter, part(own, inbox.peer.rank));
    const mine = part(sum, this.rank);
    for (let rank = 0; rank < this.ranks; rank++) {
      const theirs = rank === this.rank ? part(own, rank) : viewOf(await this.#receiveFrom(this.#inbox(rank), scatter, mine.length), this.wire);
      if (rank === 0) mine.set(theirs);
      else addInto(mine, theirs);
    }
    mine.set(this.#sendBlock(this.#inboxes, gather, mine));
    for (const inbox of this.#inboxes) {
      const theirs = part(sum, inbox.peer.rank);
      theirs.set(viewOf(await this.#receiveFrom(inbox, gather, theirs.length), this.wire));
    }
    return sum;
  }

  /** @returns the values as receivers will read them */
  #sendBlock(inboxes: readonly Inbox[], turn: number, values: Values): Values {
    if (values.length > this.#blockValues) {
      this.#blockFrame = new ReusableFrame(values.length * 4);
      this.#blockValues = values.length;
    }
    const sent = viewOf(this.#blockFrame.payload(values.length * dtypeBytes(this.wire)), this.wire);
    sent.set(values);
    this.#send(inboxes, this.#blockFrame, turn, values.length);
    return sent;
  }

  #send(inboxes: readonly Inbox[], to: ReusableFrame, turn: number, values: number): void {
    const { wire: dtype, epoch, lane } = this.#options;
    const byteLength = values * dtypeBytes(dtype);
    const frame = to.seal({ kind: "partial", lane, epoch, turn, dtype, shape: [values], byteLength }, byteLength);
    for (const { peer } of inboxes) peer.link.sendFrame(frame);
  }

  async #receiveFrom(inbox: Inbox, turn: number, values: number): Promise<Uint8Array<ArrayBuffer>> {
    const { frame, payload } = await inbox.take();
    try {
      if (frame.turn !== turn) throw new LatentmeshError("protocol", `Worker ${inbox.peer.worker} is at exchange ${frame.turn} where ${turn} is due`);
      checkTensor(frame, payload, { dtype: this.wire, shape: [values] });
    } catch (error) {
      inbox.peer.link.close(error as LatentmeshError);
      throw error;
    }
    return payload;
  }

  #nextTurn(): number {
    return this.#turn = (this.#turn + 1) % MOST_EXCHANGES;
  }

  #inbox(rank: number): Inbox {
    return this.#inboxes[rank < this.rank ? rank : rank - 1];
  }
}

function viewOf(payload: Uint8Array<ArrayBuffer>, dtype: "f32" | "f16"): Values {
  if (dtype === "f32") return new Float32Array(payload.buffer, payload.byteOffset, payload.byteLength / 4);
  return new Float16Array(payload.buffer, payload.byteOffset, payload.byteLength / 2);
}

interface Arrival {
  readonly frame: PeerFrameOf<"partial">;
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** What one peer has sent and nobody has taken yet. */
class Inbox {
  readonly peer: PeerRank;
  readonly #deadlineMs: number;
  readonly #arrivals: Arrival[] = [];
  #waiting: PromiseWithResolvers<Arrival> | null = null;
  #failure: LatentmeshError | null = null;

  constructor(peer: PeerRank, deadlineMs: number) {
    this.peer = peer;
    this.#deadlineMs = deadlineMs;
    peer.link.closed.then((reason) => this.fail(rankGone(peer, reason)));
  }

  put(frame: PeerFrameOf<"partial">, payload: Uint8Array<ArrayBuffer>): void {
    if (this.#waiting !== null) {
      this.#waiting.resolve({ frame, payload });
      this.#waiting = null;
      return;
    }
    // A peer can be one exchange ahead, two where tensors are reduced in blocks.
    if (this.#arrivals.length > 2) throw new LatentmeshError("protocol", `Worker ${this.peer.worker} sends partial results that nobody asked for`);
    this.#arrivals.push({ frame, payload });
  }

  take(): Promise<Arrival> {
    const arrival = this.#arrivals.shift();
    if (arrival !== undefined) return Promise.resolve(arrival);
    if (this.#failure !== null) return Promise.reject(this.#failure);
    return this.#wait();
  }

  fail(reason: LatentmeshError): void {
    this.#failure ??= reason;
    this.#waiting?.reject(this.#failure);
    this.#waiting = null;
  }

  async #wait(): Promise<Arrival> {
    const waiting = this.#waiting = Promise.withResolvers<Arrival>();
    const { peer } = this;
    const stop = watchSilence(this.#deadlineMs, () => {
      this.fail(new WorkerError("timeout", `Rank ${peer.rank} (worker ${peer.worker}) was silent for ${this.#deadlineMs} ms`, peer.worker));
    });
    try {
      return await waiting.promise;
    } finally {
      stop();
    }
  }
}
