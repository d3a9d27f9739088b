/**
 * What went wrong with units lately, and what became of it, in words: for people who look at a cluster, not for whoever repairs it.
 *
 * @module
 */

/** One thing that happened. */
export interface Incident {
  /** When, in milliseconds since 1970. */
  readonly at: number;
  /** `lost`: a worker is gone; `failed`: a unit could not go on; `restored`: it works again; `given-up`: it will not. */
  readonly kind: "lost" | "failed" | "restored" | "given-up";
  /** Name of the unit. */
  readonly unit: string;
  /** The place in it; null: all of it. */
  readonly rank: number | null;
  /** What is known of it; empty: nothing more than its kind. */
  readonly message: string;
}

/** Incidents that are remembered: what came before them is in the logs. */
const MOST = 20;

/** The latest of them. */
export class Incidents {
  readonly #incidents: Incident[] = [];
  readonly #now: () => number;

  /** @param now milliseconds since 1970 */
  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  /** From the latest to the earliest. */
  get latest(): readonly Incident[] {
    return this.#incidents.toReversed();
  }

  /** Remembers one that happens now. */
  add(kind: Incident["kind"], unit: string, { rank = null, message = "" }: { readonly rank?: number | null; readonly message?: string } = {}): void {
    this.#incidents.push({ at: this.#now(), kind, unit, rank, message });
    if (this.#incidents.length > MOST) this.#incidents.shift();
  }
}
