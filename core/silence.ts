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
 * Watches one wait after the other, with a timer that goes on from one to the next: waits of microseconds do not start and stop one each.
 */
export class SilenceWatch {
  readonly #ms: number;
  readonly #onSilent: () => void;
  #silence: Silence | null = null;
  #timer: ReturnType<typeof setTimeout> | null = null;

  /** @param onSilent called when a wait has lasted for `ms` milliseconds of silence */
  constructor(ms: number, onSilent: () => void) {
    this.#ms = ms;
    this.#onSilent = onSilent;
  }

  /** A wait begins. */
  begin(): void {
    this.#silence = new Silence(performance.now());
    if (this.#timer === null) this.#lookLater();
  }

  /** What was waited for is there. */
  end(): void {
    this.#silence = null;
  }

  /** There will be no more waits, or not soon. */
  stop(): void {
    this.end();
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #lookLater(): void {
    this.#timer = setTimeout(() => this.#look(), Math.min(SLICE, this.#ms));
  }

  #look(): void {
    this.#timer = null;
    if (this.#silence === null) return;
    if (this.#silence.lasts(performance.now()) < this.#ms) return this.#lookLater();
    this.end();
    this.#onSilent();
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
