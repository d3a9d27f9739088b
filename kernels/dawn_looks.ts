/**
 * When Dawn looks whether the device is done.
 *
 * Dawn's binding looks in every turn of the event loop, several hundred thousand times a second, and hands `setImmediate` a new native function for each look.
 * Deno lets go of such functions in time that grows with the square of their number: 30,000 of them stop the process for 0.4 s, 60,000 for 1.9. So the loop
 * turns without Dawn until the work is about to be done, and what looks leave behind is collected while it is little.
 *
 * @module
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** A look that Dawn asks for; it asks for the next one in it, or tells whoever waits. */
export type Look = () => void;

/** Awaits work of one kind. */
export type WaitFor = <T>(work: Promise<T>) => Promise<T>;

/** Time and the event loop. */
export interface EventLoop {
  /** In milliseconds. */
  now(): number;
  /** Calls `call(look)` in the next turn. */
  nextTurn(call: (look: Look) => void, look: Look): void;
  /** Collects garbage. */
  collect(): void;
}

/** Waits of a kind that are remembered. */
const REMEMBERED = 4;
/** Of the shortest wait that is remembered, the part that passes before the first look. */
const UNSEEN = 0.85;
/** Least milliseconds from one look to the next. */
const LEAST_PAUSE = 0.01;
/** The same as a part of what has been waited for. */
const PAUSE = 1 / 64;

/** Looks after which they are collected if there is time for it; within these bounds whether there is or not. */
const FEW_LOOKS = 500;
const [LEAST_LOOKS, MOST_LOOKS] = [5000, 20_000];
/** Milliseconds that a number of looks takes to be let go of, divided by its square (bench/NOTES.md). */
const PER_SQUARE = 0.45e-6;
/** Milliseconds of a collection before one has been timed. */
const COLLECTION = 20;

interface Wait {
  readonly began: number;
  readonly expected: number;
}

/** Lets Dawn look when something may have come of it. */
export class DawnLooks {
  readonly #loop: EventLoop;
  readonly #waits = new Set<Wait>();
  #last = -Infinity;
  #lastButOne = -Infinity;
  /** Looks that are not collected, most that may be, and how long it took the last time. */
  #looks = 0;
  #most = LEAST_LOOKS;
  #collection = COLLECTION;

  constructor(loop: EventLoop) {
    this.#loop = loop;
  }

  /** Takes a look as soon as one is due. */
  readonly schedule = (look: Look): void => {
    this.#loop.nextTurn(this.#turn, look);
  };

  /** A way to wait for one kind of work, which takes about as long each time. */
  kind(): WaitFor {
    // How long work was seen not to be done.
    const lasted: number[] = [];
    return async (work) => {
      const wait = { began: this.#loop.now(), expected: lasted.length === 0 ? 0 : Math.min(...lasted) };
      this.#waits.add(wait);
      try {
        return await work;
      } finally {
        this.#waits.delete(wait);
        // Done at the first look, it may have been done long before: the next one is looked at from its beginning.
        if (this.#lastButOne <= wait.began) lasted.length = 0;
        else if (lasted.push(this.#lastButOne - wait.began) > REMEMBERED) lasted.shift();
      }
    };
  }

  readonly #turn = (look: Look): void => {
    const now = this.#loop.now();
    const due = this.#due();
    if (now < due) {
      if (this.#looks >= FEW_LOOKS && due - now > this.#collection) this.#collect();
      return this.schedule(look);
    }
    this.#lastButOne = this.#last;
    this.#last = now;
    look();
    if (++this.#looks >= this.#most) this.#collect();
  };

  #collect(): void {
    const began = this.#loop.now();
    this.#loop.collect();
    this.#collection = this.#loop.now() - began;
    // Where a collection takes long for its own sake, more looks at a time take least.
    const own = Math.max(0, this.#collection - PER_SQUARE * this.#looks ** 2);
    this.#most = Math.min(MOST_LOOKS, Math.max(LEAST_LOOKS, Math.sqrt(own / PER_SQUARE)));
    this.#looks = 0;
  }

  #due(): number {
    // Nobody waits for what Dawn does for itself, such as making a device.
    let due = this.#waits.size === 0 ? this.#last + LEAST_PAUSE : Infinity;
    for (const { began, expected } of this.#waits) {
      const pause = Math.max(LEAST_PAUSE, (this.#last - began) * PAUSE);
      due = Math.min(due, Math.max(began + expected * UNSEEN, this.#last + pause));
    }
    return due;
  }
}

const NATIVE = /^function \(\) \{\s*\[native code\]\s*\}$/;

/** Dawn's looks are native functions without a name; a callback of anybody else that is delayed for that loses some microseconds. */
function isLook(callback: unknown, more: readonly unknown[]): callback is Look {
  return typeof callback === "function" && more.length === 0 && callback.name === "" && NATIVE.test(Function.prototype.toString.call(callback));
}

/** V8's own, which it gives to contexts that are made while a flag is set; where it gives none, what looks leave behind is let go of as it comes. */
function garbageCollector(): () => void {
  const { gc } = globalThis as { readonly gc?: unknown };
  if (typeof gc === "function") return () => void gc();
  setFlagsFromString("--expose-gc");
  try {
    const collect: unknown = runInNewContext("globalThis.gc");
    return typeof collect === "function" ? () => void collect() : () => {};
  } finally {
    setFlagsFromString("--no-expose-gc");
  }
}

let installed: DawnLooks | null = null;

/** From now on, looks that `setImmediate` is given are taken when they are due; everything else goes on as before. */
export function paceDawn(): DawnLooks {
  if (installed !== null) return installed;
  const original = globalThis.setImmediate;
  const looks = new DawnLooks({ now: () => performance.now(), nextTurn: (call, look) => original(call, look), collect: garbageCollector() });
  const paced = (callback: (...values: unknown[]) => void, ...values: unknown[]) => {
    if (!isLook(callback, values)) return original(callback, ...values);
    looks.schedule(callback);
  };
  // What else hangs on it: its promise form.
  globalThis.setImmediate = Object.defineProperties(paced, Object.getOwnPropertyDescriptors(original)) as typeof original;
  return installed = looks;
}
