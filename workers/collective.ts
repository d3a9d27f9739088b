/**
 * Sums over the ranks of a unit. Every rank adds all partial results in rank order, so every rank holds the same bits, and the same batch gives the same bits
 * on every run.
 *
 * @module
 */

import { LatentmeshError } from "../core/errors.ts";
import type { PeerFrameOf } from "../core/wire/messages.ts";

/** What the forward pass needs of the other ranks. */
export interface Collective {
  readonly rank: number;
  readonly ranks: number;
  /** Sums so far. */
  readonly exchanges: number;
  /** Milliseconds spent in them. */
  readonly exchangeMs: number;
  /** Where this rank's `values` partial results go before {@link allReduce}: memory that is sent from, so that nothing is copied in between. */
  input(values: number): Float32Array<ArrayBuffer>;
  /**
   * Σ over ranks of what was put into {@link input}. Valid until the next call.
   *
   * @throws {WorkerError} `timeout` or `worker_lost`, naming the rank that was silent
   */
  allReduce(values: number): Promise<Float32Array<ArrayBuffer>>;
  /** Milliseconds spent in each sum since this was last asked. */
  takeWaits(): number[];
  /** Takes in a peer's partial result. @throws {LatentmeshError} `protocol` if it is out of turn */
  receive(rank: number, frame: PeerFrameOf<"partial">, payload: Uint8Array<ArrayBuffer>): void;
  /** Ends what waits, and everything that comes. */
  abort(reason: LatentmeshError): void;
}

/** A unit of one rank: nothing to sum. */
export class SoloCollective implements Collective {
  readonly rank = 0;
  readonly ranks = 1;
  readonly exchanges = 0;
  readonly exchangeMs = 0;
  #values: Float32Array<ArrayBuffer> = new Float32Array(0);

  input(values: number): Float32Array<ArrayBuffer> {
    if (this.#values.length < values) this.#values = new Float32Array(values);
    return this.#values.subarray(0, values);
  }

  allReduce(values: number): Promise<Float32Array<ArrayBuffer>> {
    return Promise.resolve(this.input(values));
  }

  takeWaits(): number[] {
    return [];
  }

  receive(): void {
    throw new LatentmeshError("protocol", "A rank alone takes no partial results");
  }

  abort(): void {}
}

/** `sum[i] += part[i]`; the one place where partial results are added. */
export function addInto(sum: Float32Array, part: Float32Array | Float16Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] += part[i];
}

/** Ranks of one process meet here. */
export class LocalExchange {
  readonly #parts: Float32Array<ArrayBuffer>[];
  #sum: Float32Array<ArrayBuffer> = new Float32Array(0);
  #arrived = 0;
  #round: PromiseWithResolvers<void> = Promise.withResolvers();

  constructor(ranks: number) {
    this.#parts = Array.from({ length: ranks }, () => new Float32Array(0));
  }

  /** This rank's end. */
  rank(rank: number): Collective {
    const parts = this.#parts;
    return {
      rank,
      ranks: parts.length,
      exchanges: 0,
      exchangeMs: 0,
      input(values) {
        if (parts[rank].length < values) parts[rank] = new Float32Array(values);
        return parts[rank].subarray(0, values);
      },
      allReduce: (values) => this.#meet(values),
      takeWaits: () => [],
      receive() {
        throw new LatentmeshError("protocol", "Ranks of one process send each other nothing");
      },
      abort() {},
    };
  }

  async #meet(values: number): Promise<Float32Array<ArrayBuffer>> {
    const { promise, resolve } = this.#round;
    if (++this.#arrived === this.#parts.length) {
      this.#arrived = 0;
      this.#round = Promise.withResolvers();
      // Ranks may still read the last sum, so every round has its own.
      this.#sum = this.#parts[0].slice(0, values);
      for (const part of this.#parts.slice(1)) addInto(this.#sum, part);
      resolve();
    }
    await promise;
    return this.#sum;
  }
}
