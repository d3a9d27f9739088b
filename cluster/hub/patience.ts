/**
 * How often, and after which waits, a hub is asked again.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { log } from "../logs/log.ts";
import { HubFault } from "./hub_errors.ts";

/** How long things may take; tests have less of it. */
export interface Timing {
  /** Milliseconds without a byte after which an answer is given up. */
  readonly silentMs: number;
  /** Waits for so many milliseconds. */
  pause(ms: number, signal: AbortSignal): Promise<void>;
}

/** As it is. */
export const TIMING: Timing = {
  silentMs: 30_000,
  pause: (ms, signal) =>
    new Promise((resolve, reject) => {
      const give = () => {
        clearTimeout(timer);
        reject(signal.reason);
      };
      const timer = setTimeout(() => {
        signal.removeEventListener("abort", give);
        resolve();
      }, ms);
      if (signal.aborted) give();
      else signal.addEventListener("abort", give, { once: true });
    }),
};

/** Faults in a row, with nothing got in between. */
const MOST_FAULTS = 6;
/** Times in a row that a hub may ask to wait: it counts requests over minutes. */
const MOST_WAITS = 20;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10_000;
/** Milliseconds that a hub may ask to wait. */
const LONGEST_WAIT = 10 * 60_000;
/** Waits from here on are told of: whoever starts a server sees nothing else meanwhile. */
const TOLD_WAIT = 2000;

/** Of what kind it is. */
export interface PatienceOptions {
  /** What is being done, as errors say it: `fetch a/b`. */
  readonly what: string;
  /** What to do when it is no use, besides looking after the network. */
  readonly advice?: string;
  /** Faults in a row. */
  readonly mostFaults?: number;
}

/** Of one request. */
export class Patience {
  readonly #options: PatienceOptions;
  readonly #timing: Timing;
  #faults = 0;
  #waits = 0;

  constructor(options: PatienceOptions, timing: Timing) {
    this.#options = options;
    this.#timing = timing;
  }

  /** Something was got. */
  progressed(): void {
    this.#faults = 0;
    this.#waits = 0;
  }

  /**
   * Waits until it is time to ask again.
   *
   * @throws {LatentmeshError} when it is no use: `overloaded` if the hub asks to wait, else `not_found`
   */
  async after(fault: HubFault, signal: AbortSignal): Promise<void> {
    const { retryAfterMs, status } = fault;
    const asked = status === 429;
    if (asked ? ++this.#waits > MOST_WAITS : ++this.#faults >= (this.#options.mostFaults ?? MOST_FAULTS)) throw this.#error(fault, asked);
    const ms = retryAfterMs ?? Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (this.#faults + this.#waits - 1));
    if (ms > LONGEST_WAIT) throw this.#error(fault, true);
    if (ms >= TOLD_WAIT) log("info", `cannot ${this.#options.what} yet: ${fault.message}; waiting for ${Math.ceil(ms / 1000)} s`);
    await this.#timing.pause(ms, signal);
  }

  #error(fault: HubFault, asked: boolean): LatentmeshError {
    const { retryAfterMs } = fault;
    const { what, advice: more } = this.#options;
    const advice = asked
      ? `ask again ${retryAfterMs === undefined ? "later" : `in ${Math.ceil(retryAfterMs / 1000)} s`}; with a token (HF_TOKEN) a hub allows more`
      : `check the network, or HF_ENDPOINT${more === undefined ? "" : `; ${more}`}`;
    return new LatentmeshError(asked ? "overloaded" : "not_found", `Cannot ${what}: ${fault.message}; ${advice}`, {
      retryAfterMs,
      cause: fault,
    });
  }
}
