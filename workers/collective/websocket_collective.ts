/**
 * The exchange between processes over WebSocket, which works between hosts and is what other ways are compared to. It needs turns of an event loop, which is that of
 * the thread of sums (thread.ts) or, where there is none, the rank's own. Up to four ranks, and few values: every rank
 * sends its part to every other, one hop, and whoever consumes the sum adds them. Above, each rank sums one block of the tensor and sends the sum to all:
 * reduce-scatter, then all-gather. What is not summed always goes in one hop.
 *
 * Copies of a part: device → frame (readback), frame → socket, socket → message (each message is memory of its own, which Deno's WebSocket allocates), message →
 * device (upload); with a thread, two more on either side, through memory that it shares with the rank. Frames and sums are allocated once.
 *
 * @module
 */
import { invariant, type LatentmeshError } from "../../core/errors.ts";
import type { Range } from "../../core/model/matrix_source.ts";
import { blockOf } from "../../core/tpla/latent_columns.ts";
import type { PeerFrameOf } from "../../core/wire/messages.ts";
import { MOST_EXCHANGES } from "../../core/wire/protocol.ts";
import { addInto, type Collective, type Exchanged, NO_SUM } from "./collective.ts";
import { Inbox, type PeerRank } from "./inbox.ts";
import { PartFrame } from "./part_frame.ts";

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

/** A frame and how many values it was last used for. */
interface SizedFrame {
  readonly frame: PartFrame;
  values: number;
}

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
  readonly #inboxes: readonly Inbox[];
  /** The payload of the first is what {@link input} gave last. What has another length in turn has a frame of its own, which need not be sealed anew. */
  #frames: readonly [SizedFrame, SizedFrame];
  /** What blocks of parts are sent in, and blocks of sums, which nobody rounds: the other ways to exchange do not either. */
  readonly #blockFrame: PartFrame;
  readonly #sumFrame: PartFrame;
  #sum: Float32Array<ArrayBuffer> = new Float32Array(0);

  /** @param peers every other rank, in rank order */
  constructor(peers: readonly PeerRank[], options: WebSocketCollectiveOptions) {
    this.rank = options.rank;
    this.ranks = options.ranks;
    this.wire = options.wire;
    this.#inboxes = peers.map((peer) => new Inbox(peer, options.deadlineMs));
    const { epoch, lane, wire: dtype } = options;
    const sized = (): SizedFrame => ({ frame: new PartFrame({ epoch, lane, dtype }), values: -1 });
    this.#frames = [sized(), sized()];
    this.#blockFrame = new PartFrame({ epoch, lane, dtype });
    this.#sumFrame = new PartFrame({ epoch, lane, dtype: "f32" });
  }

  receive(rank: number, frame: PeerFrameOf<"partial">, payload: Uint8Array<ArrayBuffer>): void {
    this.#inbox(rank).put(frame, payload);
  }

  /** Takes in a peer's part as it came, if it is what is waited for. @returns whether it is; other frames must be decoded */
  receiveEncoded(rank: number, frame: Uint8Array<ArrayBuffer>): boolean {
    return this.#inbox(rank).putEncoded(frame);
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
    return this.#takeFrame(values).payload(values);
  }

  /** The frame that was used last for as many values; otherwise the one before it, which is for them from now on. */
  #takeFrame(values: number): PartFrame {
    const [last, before] = this.#frames;
    if (last.values === values) return last.frame;
    this.#frames = [before, last];
    before.values = values;
    return before.frame;
  }

  exchange(values: number, whole: number = values, meanwhile?: () => void): Exchanged | Promise<Exchanged> {
    const started = performance.now();
    const exchanged = whole === NO_SUM || this.#isDirect(whole) ? this.#exchangeParts(values) : this.#reduceInBlocks(values);
    meanwhile?.();
    if (!(exchanged instanceof Promise)) return this.#count(exchanged, started);
    return exchanged.then((exchanged) => this.#count(exchanged, started));
  }

  #isDirect(values: number): boolean {
    return this.ranks === 2 || this.ranks <= MOST_DIRECT_RANKS && values <= MOST_DIRECT_VALUES;
  }

  #count(exchanged: Exchanged, started: number): Exchanged {
    this.exchanges++;
    const waited = performance.now() - started;
    this.exchangeMs += waited;
    this.#waits.push(waited);
    return exchanged;
  }

  /** One hop: everything to everybody. */
  #exchangeParts(values: number): Exchanged | Promise<Exchanged> {
    const turn = this.#nextTurn();
    const [{ frame, values: filled }] = this.#frames;
    invariant(filled === values, `${values} values are exchanged, and ${filled} were filled in`);
    this.#send(this.#inboxes, frame, turn, values);
    const { promise, resolve, reject } = Promise.withResolvers<Exchanged>();
    const parts: Uint8Array<ArrayBuffer>[] = [];
    let missing = this.#inboxes.length;
    for (const [i, inbox] of this.#inboxes.entries()) {
      const came = (part: Uint8Array<ArrayBuffer>) => {
        parts[i] = part;
        if (--missing === 0) resolve({ parts });
      };
      inbox.wait({ turn, dtype: this.wire, values, like: frame, came, failed: reject });
    }
    return missing === 0 ? { parts } : promise;
  }

  async #reduceInBlocks(values: number): Promise<Exchanged> {
    if (this.#sum.length < values) this.#sum = new Float32Array(values);
    const sum = this.#sum.subarray(0, values);
    const own = viewOf(this.input(values), this.wire);
    const block = (rank: number): Range => blockOf(values, this.ranks, rank);
    const part = <V extends Values>(of: V, rank: number) => of.subarray(block(rank).begin, block(rank).end) as V;
    const [scatter, gather] = [this.#nextTurn(), this.#nextTurn()];
    for (const inbox of this.#inboxes) this.#sendBlock([inbox], scatter, part(own, inbox.peer.rank), this.#blockFrame, this.wire);
    const mine = part(sum, this.rank);
    for (let rank = 0; rank < this.ranks; rank++) {
      const theirs = rank === this.rank
        ? part(own, rank)
        : viewOf(await this.#receiveFrom(this.#inbox(rank), scatter, mine.length, this.wire), this.wire);
      if (rank === 0) mine.set(theirs);
      else addInto(mine, theirs);
    }
    this.#sendBlock(this.#inboxes, gather, mine, this.#sumFrame, "f32");
    for (const inbox of this.#inboxes) {
      const theirs = part(sum, inbox.peer.rank);
      theirs.set(viewOf(await this.#receiveFrom(inbox, gather, theirs.length, "f32"), "f32"));
    }
    return { sum };
  }

  #sendBlock(inboxes: readonly Inbox[], turn: number, values: Values, frame: PartFrame, dtype: "f32" | "f16"): void {
    viewOf(frame.payload(values.length), dtype).set(values);
    this.#send(inboxes, frame, turn, values.length);
  }

  #send(inboxes: readonly Inbox[], to: PartFrame, turn: number, values: number): void {
    const frame = to.seal(turn, values);
    for (const { peer } of inboxes) peer.link.sendFrame(frame);
  }

  #receiveFrom(inbox: Inbox, turn: number, values: number, dtype: "f32" | "f16"): Promise<Uint8Array<ArrayBuffer>> {
    return new Promise((came, failed) => inbox.wait({ turn, dtype, values, like: null, came, failed }));
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
