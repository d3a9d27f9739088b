/**
 * The exchange between ranks of one host, through memory they share: each writes its part where all can read it, counts its exchange, and waits until the others
 * have counted theirs. Nothing is copied on the way from the readback to the upload, and no turn of the event loop is needed. Parts are taken as they come, so that
 * they are on their way to the device while a rank waits for its own, or for the last of the others.
 *
 * A rank that waits watches the counters for as long as a sum usually takes. Then it lets the event loop turn between polls, so that aborts and closed links are
 * noticed, and in the end only polls now and then, so that no processor is kept busy.
 *
 * @module
 */
import { setImmediate } from "node:timers/promises";
import { invariant, LatentmeshError } from "../../core/errors.ts";
import { WorkerError } from "../../core/wire/rpc.ts";
import { type Collective, type Exchanged, type OtherRank, rankGone, type TakePart } from "./collective.ts";
import { SharedLayout } from "./shared_layout.ts";
import { Silence } from "../../core/silence.ts";
import { type SharedMemory, yieldProcessor } from "./shared_memory.ts";

/** Options of {@link SharedCollective}. */
export interface SharedCollectiveOptions {
  readonly rank: number;
  readonly ranks: number;
  readonly wire: "f32" | "f16";
  /** A rank that is silent for longer ends the step. */
  readonly deadlineMs: number;
  readonly lane: number;
  readonly lanes: number;
  readonly mostValues: number;
}

/** Polls of the counters before the clock is read. */
const POLLS = 64;
/** Milliseconds in which only the counters are polled; then, in which the processor is lent to others between polls. */
const WATCHING = 0.02;
const LENDING = 0.5;
/** Milliseconds in which every turn of the event loop polls. */
const TURNING = 4;
/** Milliseconds between polls after that. */
const PAUSE = 1;

/** One rank's end of the exchange. */
export class SharedCollective implements Collective {
  readonly by = "shared-memory";
  readonly travels = "at once";
  readonly rank: number;
  readonly ranks: number;
  readonly wire: "f32" | "f16";
  readonly mostValues: number;
  exchanges = 0;
  exchangeMs = 0;
  #waits: number[] = [];
  readonly #segment: SharedMemory;
  readonly #layout: SharedLayout;
  readonly #counters: Int32Array<ArrayBuffer>;
  readonly #peers: readonly OtherRank[];
  readonly #options: SharedCollectiveOptions;
  /** Exchanges that this rank has begun; wraps around as the counters do. */
  #turn = 0;
  /** Who takes others' parts of the exchange that is about to begin or has begun, how many values they have, and which have been taken. */
  #take: TakePart | null = null;
  #values = 0;
  readonly #taken: boolean[];
  #failure: LatentmeshError | null = null;

  /** @param peers every other rank, in rank order */
  constructor(segment: SharedMemory, peers: readonly OtherRank[], options: SharedCollectiveOptions) {
    this.rank = options.rank;
    this.ranks = options.ranks;
    this.wire = options.wire;
    this.mostValues = options.mostValues;
    this.#segment = segment;
    this.#layout = new SharedLayout(options);
    this.#counters = new Int32Array(segment.memory);
    this.#peers = peers;
    this.#taken = peers.map(() => false);
    this.#options = options;
    for (const peer of peers) void peer.gone.then((reason) => this.abort(rankGone(peer, reason)));
  }

  input(values: number, take?: TakePart): Uint8Array<ArrayBuffer> {
    this.#check();
    invariant(values <= this.mostValues, `${values} values are exchanged where ${this.mostValues} are the most`);
    this.#take = take ?? null;
    this.#values = values;
    this.#taken.fill(false);
    return this.#part(this.rank, (this.#turn + 1) | 0, values);
  }

  /** It is {@link exchange} that says what is wrong. */
  readonly poll = (): void => {
    if (this.#failure === null && this.#segment.memory.byteLength > 0) this.#takeUntilMissing((this.#turn + 1) | 0);
  };

  exchange(values: number): Exchanged | Promise<Exchanged> {
    this.#check();
    const started = performance.now();
    this.#turn = (this.#turn + 1) | 0;
    Atomics.store(this.#counters, this.#counterOf(this.rank), this.#turn);
    return this.#watch(started) === null ? this.#exchanged(values, started) : this.#wait(values, started);
  }

  takeWaits(): number[] {
    const waits = this.#waits;
    this.#waits = [];
    return waits;
  }

  receive(rank: number): void {
    throw new LatentmeshError("protocol", `Rank ${rank} sends partial results where they go through shared memory`);
  }

  abort(reason: LatentmeshError): void {
    this.#failure ??= reason;
  }

  /** Polls for as long as a sum usually takes. @returns a rank that has not come yet; null if all have */
  #watch(started: number): OtherRank | null {
    for (let peer = this.#takeUntilMissing(this.#turn);; peer = this.#takeUntilMissing(this.#turn)) {
      if (peer === null) return null;
      const waited = performance.now() - started;
      if (waited > LENDING) return peer;
      if (waited > WATCHING) yieldProcessor();
      else for (let poll = 0; poll < POLLS && !this.#hasCome(peer.rank, this.#turn); poll++);
    }
  }

  async #wait(values: number, started: number): Promise<Exchanged> {
    const { deadlineMs } = this.#options;
    const silence = new Silence(started);
    while (true) {
      const waited = performance.now() - started;
      if (waited < TURNING) await setImmediate();
      else await new Promise((resolve) => setTimeout(resolve, PAUSE));
      // What has come has come, even if its rank is gone by now.
      this.#checkMapped();
      const peer = this.#takeUntilMissing(this.#turn);
      if (peer === null) return this.#exchanged(values, started);
      this.#check();
      if (silence.lasts(performance.now()) > deadlineMs) {
        const error = new WorkerError("timeout", `Rank ${peer.rank} (worker ${peer.worker}) was silent for ${deadlineMs} ms`, peer.worker);
        this.abort(error);
        throw error;
      }
    }
  }

  #exchanged(values: number, started: number): Exchanged {
    this.exchanges++;
    const waited = performance.now() - started;
    this.exchangeMs += waited;
    this.#waits.push(waited);
    return { parts: this.#peers.map(({ rank }, other) => this.#taken[other] ? null : this.#part(rank, this.#turn, values)) };
  }

  /** Takes what has come to an exchange. @returns a rank that has not come yet; null if all have */
  #takeUntilMissing(turn: number): OtherRank | null {
    let missing: OtherRank | null = null;
    for (const [other, peer] of this.#peers.entries()) {
      if (!this.#hasCome(peer.rank, turn)) missing ??= peer;
      else if (this.#take !== null && !this.#taken[other]) {
        this.#taken[other] = true;
        this.#take(other, this.#part(peer.rank, turn, this.#values));
      }
    }
    return missing;
  }

  #hasCome(rank: number, turn: number): boolean {
    return ((Atomics.load(this.#counters, this.#counterOf(rank)) - turn) | 0) >= 0;
  }

  #counterOf(rank: number): number {
    return this.#layout.counter(this.#options.lane, rank) / 4;
  }

  #part(rank: number, turn: number, values: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#segment.memory, this.#layout.slot(this.#options.lane, rank, turn), values * (this.wire === "f32" ? 4 : 2));
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure;
    this.#checkMapped();
  }

  /** A new epoch takes the memory away. */
  #checkMapped(): void {
    if (this.#segment.memory.byteLength === 0) throw this.#failure ?? new LatentmeshError("worker_lost", "The ranks' shared memory is gone");
  }
}
