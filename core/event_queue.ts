/**
 * Events of a task that runs ahead of whoever reads them.
 *
 * @module
 */

import { LatentmeshError } from "./errors.ts";

/** Events that may wait for a reader, unless it is said otherwise. */
export const MOST_WAITING_EVENTS = 8192;

/** What the task does; it must stop soon after `signal` aborts. */
export type Producer<T> = (signal: AbortSignal, emit: (event: T) => void) => Promise<void>;

/** Starts its task when it is first iterated; leaving the iteration aborts the task and waits for its end. */
export class EventQueue<T> implements AsyncIterable<T> {
  readonly #signal: AbortSignal;
  readonly #produce: Producer<T>;
  readonly #mostWaiting: number;

  /** @param mostWaiting events that may wait; a reader that is further behind loses the task, and nobody else anything */
  constructor(signal: AbortSignal, produce: Producer<T>, mostWaiting: number = MOST_WAITING_EVENTS) {
    this.#signal = signal;
    this.#produce = produce;
    this.#mostWaiting = mostWaiting;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    const abandoned = new AbortController();
    const events: T[] = [];
    let wake = Promise.withResolvers<void>();
    let ended = false;
    let failure: { error: unknown } | null = null;
    const task = this.#produce(AbortSignal.any([this.#signal, abandoned.signal]), (event) => {
      if (failure !== null) return;
      events.push(event);
      if (events.length > this.#mostWaiting) {
        failure = { error: new LatentmeshError("capacity", `The client reads too slowly: ${events.length} events wait for it`) };
        abandoned.abort();
      }
      wake.resolve();
    }).catch((error) => {
      failure ??= { error };
    }).finally(() => {
      ended = true;
      wake.resolve();
    });
    try {
      while (true) {
        while (events.length > 0) yield events.shift()!;
        if (ended) break;
        await wake.promise;
        wake = Promise.withResolvers<void>();
      }
      if (failure !== null) throw (failure as { error: unknown }).error;
    } finally {
      abandoned.abort();
      await task;
    }
  }
}
