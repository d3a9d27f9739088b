/**
 * Where the time of loading goes.
 *
 * @module
 */
import type { LoadPart, LoadTimes } from "../../core/wire/load_times.ts";

/** Adds up. */
export class LoadClock {
  readonly #times = new Map<LoadPart, number>();

  /** Milliseconds of each part so far. */
  get times(): LoadTimes {
    return Object.fromEntries([...this.#times].map(([part, ms]) => [part, Math.round(ms)]));
  }

  /** @param lanes that do the same side by side, of which each counts for its share */
  async time<T>(part: LoadPart, work: () => Promise<T>, lanes = 1): Promise<T> {
    const began = performance.now();
    try {
      return await work();
    } finally {
      this.#add(part, (performance.now() - began) / lanes);
    }
  }

  /** The same of what stops everything else meanwhile. */
  timeNow<T>(part: LoadPart, work: () => T): T {
    const began = performance.now();
    const result = work();
    this.#add(part, performance.now() - began);
    return result;
  }

  #add(part: LoadPart, ms: number): void {
    this.#times.set(part, (this.#times.get(part) ?? 0) + ms);
  }
}
