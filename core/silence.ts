/**
 * How long somebody has been silent, as far as he could be heard: a process that was stopped, or whose event loop did not turn, has heard nobody meanwhile, and
 * blames nobody for it.
 *
 * @module
 */

/** Milliseconds that pass between two polls at most; what passes beyond is not the other's silence. */
const SLICE = 100;

/** Silence, counted by whoever polls again and again. */
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

/** A wait that somebody may be silent in. */
export class WatchedWait {
  readonly ms: number;
  readonly onSilent: () => void;
  #silence = new Silence(performance.now());

  /** @param onSilent called when the wait has lasted for `ms` milliseconds of silence */
  constructor(ms: number, onSilent: () => void) {
    this.ms = ms;
    this.onSilent = onSilent;
  }

  /** Something has come, but not what is waited for: silence begins anew. */
  heard(): void {
    this.#silence = new Silence(performance.now());
  }

  /** Nothing has come. @returns whether for too long */
  isOver(now: number): boolean {
    return this.#silence.lasts(now) >= this.ms;
  }
}

/** Watches waits with one timer, which goes on from one to the next: waits of microseconds do not start and stop one each. */
export class SilenceWatch {
  readonly #waits = new Set<WatchedWait>();
  #timer: ReturnType<typeof setTimeout> | null = null;

  /** A wait begins; it is over after `ms` milliseconds of silence, or a little later. */
  begin(ms: number, onSilent: () => void): WatchedWait {
    const wait = new WatchedWait(ms, onSilent);
    this.#waits.add(wait);
    this.#timer ??= setTimeout(this.#poll, Math.min(SLICE, ms));
    return wait;
  }

  /** What was waited for is there. */
  end(wait: WatchedWait): void {
    this.#waits.delete(wait);
  }

  /** Ends all waits, and the timer with them. */
  stop(): void {
    this.#waits.clear();
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  readonly #poll = (): void => {
    this.#timer = null;
    const now = performance.now();
    const over = [...this.#waits].filter((wait) => wait.isOver(now));
    for (const wait of over) this.#waits.delete(wait);
    if (this.#waits.size > 0) this.#timer = setTimeout(this.#poll, SLICE);
    for (const { onSilent } of over) onSilent();
  };
}

/**
 * Calls `onSilent` after `ms` milliseconds of silence.
 *
 * @returns ends it
 */
export function watchSilence(ms: number, onSilent: () => void): () => void {
  const slice = Math.min(SLICE, ms);
  const silence = new Silence(performance.now());
  const poll = () => {
    if (silence.lasts(performance.now()) >= ms) onSilent();
    else timer = setTimeout(poll, slice);
  };
  let timer = setTimeout(poll, slice);
  return () => clearTimeout(timer);
}
