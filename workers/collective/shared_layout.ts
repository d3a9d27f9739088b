/**
 * Where things lie in a segment that the ranks of a unit share: its key, a counter for each lane and rank on a cache line of its own, then two slots in turn for
 * each rank's parts.
 *
 * @module
 */
import { roundUp } from "../../core/numeric.ts";
import { KEY_BYTES } from "./shared_memory.ts";

/** Of one unit. */
export interface SharedLayoutOptions {
  readonly ranks: number;
  /** Exchanges that go on side by side. */
  readonly lanes: number;
  /** Most values of one exchange. */
  readonly mostValues: number;
  readonly wire: "f32" | "f16";
}

/** Processors exchange whole lines: what two of them write on one would slow both down. */
export const LINE_BYTES = 64;
const PAGE_BYTES = 4096;

/** Offsets in bytes. */
export class SharedLayout {
  readonly bytes: number;
  readonly #options: SharedLayoutOptions;
  readonly #slotsAt: number;
  readonly #slotBytes: number;

  constructor(options: SharedLayoutOptions) {
    const { ranks, lanes, mostValues, wire } = options;
    this.#options = options;
    this.#slotsAt = roundUp(roundUp(KEY_BYTES, LINE_BYTES) + lanes * ranks * LINE_BYTES, PAGE_BYTES);
    this.#slotBytes = roundUp(mostValues * (wire === "f32" ? 4 : 2), PAGE_BYTES);
    this.bytes = this.#slotsAt + lanes * ranks * 2 * this.#slotBytes;
  }

  /** How many exchanges a rank has begun. */
  counter(lane: number, rank: number): number {
    return roundUp(KEY_BYTES, LINE_BYTES) + (lane * this.#options.ranks + rank) * LINE_BYTES;
  }

  /** A rank's part of an exchange; the one before is in the other slot, the one before that nobody reads any more. */
  slot(lane: number, rank: number, exchange: number): number {
    return this.#slotsAt + ((lane * this.#options.ranks + rank) * 2 + (exchange & 1)) * this.#slotBytes;
  }
}
