/**
 * Where ranks of one process meet.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { Collective, Exchanged } from "./collective.ts";

/** One exchange after the other, of all ranks together. */
export class LocalExchange {
  readonly #parts: Uint8Array<ArrayBuffer>[];
  #arrived = 0;
  #round: PromiseWithResolvers<readonly Uint8Array<ArrayBuffer>[]> = Promise.withResolvers();

  constructor(ranks: number) {
    this.#parts = Array.from({ length: ranks }, () => new Uint8Array(0));
  }

  /** This rank's end. */
  rank(rank: number): Collective {
    const parts = this.#parts;
    return {
      rank,
      ranks: parts.length,
      by: "memory",
      travels: "at once",
      wire: "f32",
      mostValues: Infinity,
      exchanges: 0,
      exchangeMs: 0,
      // Others may still read the last part, so every exchange has its own.
      input: (values) => parts[rank] = new Uint8Array(values * 4),
      exchange: async (): Promise<Exchanged> => ({ parts: (await this.#meet()).filter((_, other) => other !== rank) }),
      takeWaits: () => [],
      receive() {
        throw new LatentmeshError("protocol", "Ranks of one process send each other nothing");
      },
      abort() {},
    };
  }

  #meet(): Promise<readonly Uint8Array<ArrayBuffer>[]> {
    const { promise, resolve } = this.#round;
    if (++this.#arrived === this.#parts.length) {
      this.#arrived = 0;
      this.#round = Promise.withResolvers();
      resolve([...this.#parts]);
    }
    return promise;
  }
}
