/**
 * How long somebody has been silent, as far as he could be heard: a process that was stopped, or whose event loop did not turn, has heard nobody meanwhile, and
 * blames nobody for it.
 *
 * @module
 */

/** Milliseconds that pass between two looks at most; what passes beyond is not the other's silence. */
const SLICE = 100;

/** Silence, counted by whoever looks again and again. */
export class Silence {
  #last: number;
  #silent = 0;

  /** @param now milliseconds on some clock */
  constructor(now: number) {
    this.#last = now;
  }

  /** Nothing has come. @returns milliseconds of silence */
  lasts(now: number): number {
    this.#silent += Math.min(SLICE, now - this.#last);
    this.#last = now;
    return this.#silent;
  }
}

/**
 * Calls `onSilent` after `ms` milliseconds of silence.
 *
 * @returns ends it
 */
export function watchSilence(ms: number, onSilent: () => void): () => void {
  const slice = Math.min(SLICE, ms);
  const silence = new Silence(performance.now());
  const look = () => {
    if (silence.lasts(performance.now()) >= ms) onSilent();
    else timer = setTimeout(look, slice);
  };
  let timer = setTimeout(look, slice);
  return () => clearTimeout(timer);
}
