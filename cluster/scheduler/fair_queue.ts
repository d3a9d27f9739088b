/**
 * Who is next: clients take turns by what they have been served, each client's sequences by priority and in order of arrival.
 *
 * @module
 */
import { comesFirst } from "./queue_order.ts";
import type { Sequence } from "./state.ts";

/** Waiting sequences of all clients. */
export class FairQueue {
  readonly #waiting = new Map<string, Sequence[]>();
  /** Tokens served to each client that has sequences here, waiting or running; only differences mean something. */
  readonly #served = new Map<string, number>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Clients of which the queue keeps an account. */
  get clients(): number {
    return this.#served.size;
  }

  /** Queues a sequence where its priority and its arrival put it: one that comes back stands before those that came later. */
  push(sequence: Sequence): void {
    const { client } = sequence;
    const queue = this.#waiting.get(client);
    // Who comes (back) begins where the least served are, waiting or running: having been away gives no credit.
    if (!this.#served.has(client)) this.#served.set(client, this.#least());
    const sequences = queue ?? [];
    const at = sequences.findLastIndex((other) => comesFirst(other, sequence));
    sequences.splice(at + 1, 0, sequence);
    this.#waiting.set(client, sequences);
    this.#size++;
  }

  /** The sequence whose turn it is. */
  peek(): Sequence | undefined {
    let best: { readonly served: number; readonly sequence: Sequence } | undefined;
    for (const [client, [sequence]] of this.#waiting) {
      const served = this.#served.get(client)!;
      if (best === undefined || served < best.served || (served === best.served && sequence.order < best.sequence.order)) best = { served, sequence };
    }
    return best?.sequence;
  }

  /** Takes a sequence out. @returns whether it was waiting */
  remove(sequence: Sequence): boolean {
    const queue = this.#waiting.get(sequence.client);
    const at = queue?.indexOf(sequence) ?? -1;
    if (at < 0) return false;
    queue!.splice(at, 1);
    if (queue!.length === 0) this.#waiting.delete(sequence.client);
    this.#size--;
    return true;
  }

  /** Waiting sequences of one client, in order. */
  of(client: string): readonly Sequence[] {
    return this.#waiting.get(client) ?? [];
  }

  /** Every waiting sequence. */
  *[Symbol.iterator](): IterableIterator<Sequence> {
    for (const queue of this.#waiting.values()) yield* queue;
  }

  /** Charges a client for tokens. */
  charge(client: string, tokens: number): void {
    this.#served.set(client, (this.#served.get(client) ?? this.#least()) + tokens);
  }

  /** Forgets a client that has nothing more here. */
  forget(client: string): void {
    if (!this.#waiting.has(client)) this.#served.delete(client);
  }

  #least(): number {
    let least = Infinity;
    for (const served of this.#served.values()) least = Math.min(least, served);
    return least === Infinity ? 0 : least;
  }
}
