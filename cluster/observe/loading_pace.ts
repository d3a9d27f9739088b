/**
 * How fast a model is downloaded, and then loaded.
 *
 * @module
 */
import type { LoadProgress } from "../../core/wire/load_times.ts";
import { Rate } from "../logs/rate.ts";

/** What is told of it. */
export interface LoadingStatus {
  readonly downloading: boolean;
  /** null: too early to tell. */
  readonly bytesPerSecond: number | null;
  readonly secondsLeft: number | null;
}

/** Of a server that is not ready yet. */
export class LoadingPace {
  readonly #now: (() => number) | undefined;
  #rate: Rate;
  #downloading = false;

  /** @param now milliseconds on some clock */
  constructor(now?: () => number) {
    this.#now = now;
    this.#rate = new Rate(now);
  }

  /** Whether it is at the first of the two. */
  get downloading(): boolean {
    return this.#downloading;
  }

  /** It has come so far. */
  update({ loadedBytes, downloading: downloads }: LoadProgress): void {
    const downloading = downloads === true;
    if (downloading !== this.#downloading) this.#rate = new Rate(this.#now);
    this.#downloading = downloading;
    this.#rate.update(loadedBytes);
  }

  /** @param totalBytes of what it is at */
  status(totalBytes: number): LoadingStatus {
    const { perSecond } = this.#rate;
    const left = this.#rate.secondsLeft(totalBytes);
    return {
      downloading: this.#downloading,
      bytesPerSecond: perSecond === null ? null : Math.round(perSecond),
      secondsLeft: left === null ? null : Math.ceil(left),
    };
  }
}
