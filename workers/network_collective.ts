/**
 * The all-reduce between processes. Up to four ranks and small tensors: every rank sends its partial result to every other, one hop. Above, each rank sums one
 * block of the tensor and sends the sum to all: reduce-scatter, then all-gather.
 *
 * Copies of a partial result: device → frame (readback), frame → socket, socket → message (each message is memory of its own, which Deno's WebSocket allocates),
 * message → sum, sum → device (upload). Frames and sums are allocated once.
 *
 * @module
 */
import { LatentmeshError } from "../core/errors.ts";
import type { Range } from "../core/model/matrix_source.ts";
import { blockOf } from "../core/tpla/partition.ts";
import { ReusableFrame } from "../core/wire/codec.ts";
import type { Link } from "../core/wire/link.ts";
import { checkTensor, dtypeBytes, type PeerFrameOf } from "../core/wire/messages.ts";
import { WorkerError } from "../core/wire/rpc.ts";
import { addInto, type Collective } from "./collective.ts";

/** A rank on the other end of a link. */
export interface PeerRank {
  readonly rank: number;
  readonly worker: string;
  readonly link: Link;
}

/** Options of {@link NetworkCollective}. */
export interface CollectiveOptions {
  readonly rank: number;
  readonly ranks: number;
  readonly epoch: number;
  readonly wire: "f32" | "f16";
  /** A rank that is silent for longer ends the step. */
  readonly deadlineMs: number;
  /** Which half of a step it sums; default: 0. */
  readonly lane?: number;
  /** Tensors of more values are reduced in blocks. */
  readonly directValues?: number;
}

/** Most ranks that exchange in one hop. */
const MOST_DIRECT_RANKS = 4;
/** Most values that are exchanged in one hop: 1 MiB of f32. */
const MOST_DIRECT_VALUES = 1 << 18;
/** Values of one block that travel in one frame: 8 MiB of f32. */
const PIECE_VALUES = 1 << 21;

type Values = Float32Array<ArrayBuffer> | Float16Array<ArrayBuffer>;

/** One rank's end of the all-reduce. */
export class NetworkCollective implements Collective {
  readonly rank: number;
  readonly ranks: number;
  exchanges = 0;
  exchangeMs = 0;
  #waits: number[] = [];
  /** Exchanges so far, in lockstep on all ranks. */
  #turn = 0;
  readonly #options: CollectiveOptions;
  readonly #inboxes: readonly Inbox[];
  /** The payload of the frame, where it is sent as it is. */
  #frame = new ReusableFrame(0);
  #frameValues = 0;
  #partial: Float32Array<ArrayBuffer> = new Float32Array(0);
  #sum: Float32Array<ArrayBuffer> = new Float32Array(0);

  /** @param peers every other rank, in rank order */
  constructor(peers: readonly PeerRank[], options: CollectiveOptions) {
    this.rank = options.rank;
    this.ranks = options.ranks;
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

  input(values: number): Float32Array<ArrayBuffer> {
    if (this.#sentInPlace(values)) {
      this.#reserveFrame(values);
      const bytes = this.#frame.payload(values * 4);
      return new Float32Array(bytes.buffer, bytes.byteOffset, values);
    }
    if (this.#partial.length < values) this.#partial = new Float32Array(values);
    return this.#partial.subarray(0, values);
  }

  async allReduce(values: number): Promise<Float32Array<ArrayBuffer>> {
    const started = performance.now();
    if (this.#sum.length < values) this.#sum = new Float32Array(values);
    const sum = this.#sum.subarray(0, values);
    if (this.#isDirect(values)) await this.#exchange(this.input(values), sum);
    else await this.#reduceInBlocks(this.input(values), sum);
    this.exchanges++;
    const waited = performance.now() - started;
    this.exchangeMs += waited;
    this.#waits.push(waited);
    return sum;
  }

  #isDirect(values: number): boolean {
    return this.ranks <= MOST_DIRECT_RANKS && values <= (this.#options.directValues ?? MOST_DIRECT_VALUES);
  }

  #sentInPlace(values: number): boolean {
    return this.#isDirect(values) && this.#options.wire === "f32";
  }

  /** One hop: everything to everybody. */
  async #exchange(partial: Float32Array<ArrayBuffer>, sum: Float32Array<ArrayBuffer>): Promise<void> {
    const turn = ++this.#turn;
    const own = this.#send(this.#inboxes, turn, partial);
    await this.#addInRankOrder(turn, own, sum);
  }

  async #reduceInBlocks(partial: Float32Array<ArrayBuffer>, sum: Float32Array<ArrayBuffer>): Promise<void> {
    const stride = PIECE_VALUES * this.ranks;
    for (let begin = 0; begin < sum.length; begin += stride) {
      const end = Math.min(begin + stride, sum.length);
      await this.#reducePiece(partial.subarray(begin, end), sum.subarray(begin, end));
    }
  }

  async #reducePiece(partial: Float32Array<ArrayBuffer>, sum: Float32Array<ArrayBuffer>): Promise<void> {
    const block = (rank: number): Range => blockOf(sum.length, this.ranks, rank);
    const part = (values: Float32Array<ArrayBuffer>, rank: number) => values.subarray(block(rank).begin, block(rank).end);
    const [scatter, gather] = [++this.#turn, ++this.#turn];
    for (const inbox of this.#inboxes) this.#send([inbox], scatter, part(partial, inbox.peer.rank));
    const mine = part(sum, this.rank);
    await this.#addInRankOrder(scatter, asSent(part(partial, this.rank), this.#options.wire), mine);
    mine.set(this.#send(this.#inboxes, gather, mine));
    for (const inbox of this.#inboxes) {
      const theirs = part(sum, inbox.peer.rank);
      theirs.set(await this.#receiveFrom(inbox, gather, theirs.length));
    }
  }

  /** Receives everybody's part and adds all, with this rank's own in its place. */
  async #addInRankOrder(turn: number, own: Values, sum: Float32Array<ArrayBuffer>): Promise<void> {
    for (let rank = 0; rank < this.ranks; rank++) {
      const part = rank === this.rank ? own : await this.#receiveFrom(this.#inbox(rank), turn, sum.length);
      if (rank === 0) sum.set(part);
      else addInto(sum, part);
    }
  }

  /** @returns the values as receivers will read them */
  #send(inboxes: readonly Inbox[], turn: number, values: Float32Array<ArrayBuffer>): Values {
    const { wire: dtype, epoch, lane = 0 } = this.#options;
    const byteLength = values.length * dtypeBytes(dtype);
    this.#reserveFrame(values.length);
    const payload = this.#frame.payload(byteLength);
    const sent = viewOf(payload, dtype);
    // Already there when the caller filled the frame itself.
    if (values.buffer !== payload.buffer || values.byteOffset !== payload.byteOffset) sent.set(values);
    const frame = this.#frame.seal({ kind: "partial", lane, epoch, turn, dtype, shape: [values.length], byteLength }, byteLength);
    for (const { peer } of inboxes) peer.link.sendFrame(frame);
    return sent;
  }

  async #receiveFrom(inbox: Inbox, turn: number, values: number): Promise<Values> {
    const { frame, payload } = await inbox.take();
    try {
      if (frame.turn !== turn) throw new LatentmeshError("protocol", `Worker ${inbox.peer.worker} is at exchange ${frame.turn} where ${turn} is due`);
      checkTensor(frame, payload, { dtype: this.#options.wire, shape: [values] });
    } catch (error) {
      inbox.peer.link.close(error as LatentmeshError);
      throw error;
    }
    return viewOf(payload, this.#options.wire);
  }

  #inbox(rank: number): Inbox {
    return this.#inboxes[rank < this.rank ? rank : rank - 1];
  }

  #reserveFrame(values: number): void {
    if (values <= this.#frameValues) return;
    this.#frame = new ReusableFrame(values * 4);
    this.#frameValues = values;
  }
}

function viewOf(payload: Uint8Array<ArrayBuffer>, dtype: "f32" | "f16"): Values {
  if (dtype === "f32") return new Float32Array(payload.buffer, payload.byteOffset, payload.byteLength / 4);
  return new Float16Array(payload.buffer, payload.byteOffset, payload.byteLength / 2);
}

/** Values with the precision they have on the wire. */
function asSent(values: Float32Array<ArrayBuffer>, dtype: "f32" | "f16"): Values {
  return dtype === "f32" ? values : Float16Array.from(values);
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
    peer.link.closed.then((reason) => {
      this.fail(new WorkerError("worker_lost", `Rank ${peer.rank} (worker ${peer.worker}) is gone: ${reason.message}`, peer.worker));
    });
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
    const timer = setTimeout(() => {
      this.fail(new WorkerError("timeout", `Rank ${peer.rank} (worker ${peer.worker}) was silent for ${this.#deadlineMs} ms`, peer.worker));
    }, this.#deadlineMs);
    try {
      return await waiting.promise;
    } finally {
      clearTimeout(timer);
    }
  }
}
