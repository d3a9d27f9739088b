/**
 * When Dawn looks whether the device is done.
 *
 * Dawn's binding looks in every turn of the event loop, several hundred thousand times a second, and hands `setImmediate` a new native function for each look.
 * Deno lets go of such functions in time that grows with the square of their number: 30,000 of them stop the process for 0.4 s, 60,000 for 1.9. So the loop
 * turns without Dawn until the work is about to be done.
 *
 * @module
 */

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
}

/** Waits of a kind that are remembered. */
const REMEMBERED = 4;
/** Of the shortest wait that is remembered, the part that passes before the first look. */
const UNSEEN = 0.85;
/** Least milliseconds from one look to the next. */
const LEAST_PAUSE = 0.01;
/** The same as a part of what has been waited for. */
const PAUSE = 1 / 64;

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
    if (now < this.#due()) this.schedule(look);
    else {
      this.#lastButOne = this.#last;
      this.#last = now;
      look();
    }
  };

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

let installed: DawnLooks | null = null;

/** From now on, looks that `setImmediate` is given are taken when they are due; everything else goes on as before. */
export function paceDawn(): DawnLooks {
  if (installed !== null) return installed;
  const original = globalThis.setImmediate;
  const looks = new DawnLooks({ now: () => performance.now(), nextTurn: (call, look) => original(call, look) });
  const paced = (callback: (...values: unknown[]) => void, ...values: unknown[]) => {
    if (!isLook(callback, values)) return original(callback, ...values);
    looks.schedule(callback);
  };
  // What else hangs on it: its promise form.
  globalThis.setImmediate = Object.defineProperties(paced, Object.getOwnPropertyDescriptors(original)) as typeof original;
  return installed = looks;
}
