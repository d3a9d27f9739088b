/**
 * The exchange over WebSocket as a rank sees it whose sockets live in a thread of their own: it gives its part to the thread and takes the others' from it, through
 * memory that both see. A step then needs no turn of the event loop, and what comes next can be encoded while parts are on their way.
 *
 * @module
 */
import { invariant, LatentmeshError } from "../../core/errors.ts";
import { dtypeBytes } from "../../core/wire/messages.ts";
import { type Collective, type Exchanged, type OtherRank, rankGone } from "./collective.ts";
import type { MailboxLane } from "./sum_mailbox.ts";
import type { SumThread } from "./sum_thread.ts";

/** Options of {@link ThreadedCollective}. */
export interface ThreadedCollectiveOptions {
  readonly rank: number;
  readonly ranks: number;
  readonly wire: "f32" | "f16";
  readonly lane: number;
  readonly lanes: number;
  readonly mostValues: number;
  /** Whether the host has processors to spare. */
  readonly spare: boolean;
}

/** Polls of the mailbox before the clock is read. */
const POLLS = 64;
/** Most milliseconds in which a processor that can be spared is kept for polling: about what waking takes is saved. */
const MOST_WATCHING = 0.3;
/** The same where polls lately did not live to see the others' parts. */
const LEAST_WATCHING = 0.01;
/** Milliseconds that the event loop stands still for an exchange. */
const STANDING = 2;

/** One rank's end of the exchange. */
export class ThreadedCollective implements Collective {
  readonly by = "websocket";
  readonly travels = "meanwhile";
  readonly rank: number;
  readonly ranks: number;
  readonly wire: "f32" | "f16";
  readonly mostValues: number;
  exchanges = 0;
  exchangeMs = 0;
  #waits: number[] = [];
  readonly #thread: SumThread;
  readonly #lane: MailboxLane;
  /** Whether other lanes go on while this one waits, in turns of the event loop. */
  readonly #accompanied: boolean;
  readonly #spare: boolean;
  #watching: number;
  /** Memory that threads share is taken neither by every device nor by sockets. */
  #own: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #taken: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #failure: LatentmeshError | null = null;

  /** @param others every other rank, in rank order */
  constructor(thread: SumThread, others: readonly OtherRank[], { rank, ranks, wire, lane, lanes, mostValues, spare }: ThreadedCollectiveOptions) {
    this.rank = rank;
    this.ranks = ranks;
    this.wire = wire;
    this.mostValues = mostValues;
    this.#thread = thread;
    this.#lane = thread.mailbox.lanes[lane];
    this.#accompanied = lanes > 1;
    this.#spare = spare;
    this.#watching = spare ? MOST_WATCHING : 0;
    void thread.failed.then((reason) => this.abort(reason));
    for (const other of others) void other.gone.then((reason) => this.abort(rankGone(other, reason)));
  }

  input(values: number): Uint8Array<ArrayBuffer> {
    this.#check();
    invariant(values <= this.mostValues, `${values} values are exchanged where ${this.mostValues} are the most`);
    const bytes = values * dtypeBytes(this.wire);
    if (this.#own.byteLength < bytes) this.#own = new Uint8Array(bytes);
    return this.#own.subarray(0, bytes);
  }

  exchange(values: number, whole: number = values, meanwhile?: () => void): Exchanged | Promise<Exchanged> {
    this.#check();
    this.#lane.own(values).set(this.#own.subarray(0, values * dtypeBytes(this.wire)));
    this.#lane.ask(values, whole);
    meanwhile?.();
    const started = performance.now();
    if (this.#accompanied || !this.#watch(started)) return this.#wait(values, started);
    return this.#lane.outcome === "failed" ? this.#fail() : this.#exchanged(values, started);
  }

  takeWaits(): number[] {
    const waits = this.#waits;
    this.#waits = [];
    return waits;
  }

  receive(rank: number): void {
    throw new LatentmeshError("protocol", `Rank ${rank} sends partial results over another link than that of sums`);
  }

  abort(reason: LatentmeshError): void {
    this.#failure ??= reason;
    this.#lane.wake();
  }

  /** Polls for as long as that pays, then sleeps. @returns whether there is an outcome */
  #watch(started: number): boolean {
    while (true) {
      for (let poll = 0; poll < POLLS; poll++) if (this.#lane.outcome !== null) return this.#seen(started);
      const waited = performance.now() - started;
      if (waited > STANDING) {
        this.#seen(started);
        return false;
      }
      if (waited > this.#watching) this.#lane.sleep(STANDING - waited);
    }
  }

  /** Where it took longer than polls could have lasted, it most likely will again: processors are needed for something else. */
  #seen(started: number): true {
    if (!this.#spare) return true;
    const paid = performance.now() - started <= MOST_WATCHING;
    this.#watching = paid ? MOST_WATCHING : Math.max(LEAST_WATCHING, this.#watching / 2);
    return true;
  }

  async #wait(values: number, started: number): Promise<Exchanged> {
    while (true) {
      const { outcome } = this.#lane;
      if (outcome === "failed") return await this.#fail();
      // What has come has come, even if its rank is gone by now.
      if (outcome !== null) return this.#exchanged(values, started);
      if (this.#failure !== null) throw this.#failure;
      await this.#lane.wait();
    }
  }

  /** Why is said by the thread, which the event loop must turn for. */
  async #fail(): Promise<never> {
    throw this.#failure ?? (await this.#thread.failed);
  }

  #exchanged(values: number, started: number): Exchanged {
    this.exchanges++;
    const waited = performance.now() - started;
    this.exchangeMs += waited;
    this.#waits.push(waited);
    if (this.#lane.outcome === "sum") return { sum: this.#lane.sum(values).slice() };
    const parts = [];
    for (let other = 0; other < this.ranks - 1; other++) parts.push(this.#take(this.#lane.part(other, values), other));
    return { parts };
  }

  #take(part: Uint8Array<SharedArrayBuffer>, other: number): Uint8Array<ArrayBuffer> {
    const bytes = part.byteLength;
    if (this.#taken.byteLength < (this.ranks - 1) * bytes) this.#taken = new Uint8Array((this.ranks - 1) * bytes);
    const taken = this.#taken.subarray(other * bytes, (other + 1) * bytes);
    taken.set(part);
    return taken;
  }

  #check(): void {
    if (this.#failure !== null) throw this.#failure;
  }
}
