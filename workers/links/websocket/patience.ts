/**
 * How long an address has to wait that has failed to prove who it is: longer each time, and not for long after it has stopped trying.
 *
 * @module
 */

const FIRST_WAIT = 50;
const LONGEST_WAIT = 2000;
/** Milliseconds after which failures are forgotten. */
const MEMORY = 30_000;
/** Addresses that are remembered. */
const MOST = 4096;

interface Record {
  failures: number;
  /** When somebody may try again, and when this is forgotten, in milliseconds. */
  next: number;
  forget: number;
}

/** Counts failures of addresses. */
export class Patience {
  readonly #now: () => number;
  /** Who failed last comes last. */
  readonly #records = new Map<string, Record>();

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** Milliseconds that whoever comes from an address has to wait. */
  delay(address: string): number {
    const record = this.#records.get(address);
    const now = this.#now();
    return record === undefined || record.forget <= now ? 0 : Math.max(0, record.next - now);
  }

  /** Waits so long. */
  async wait(address: string, signal: AbortSignal): Promise<void> {
    const milliseconds = this.delay(address);
    if (milliseconds === 0) return;
    await new Promise<void>((resolve) => {
      const end = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", end);
        resolve();
      };
      const timer = setTimeout(end, milliseconds);
      signal.addEventListener("abort", end);
    });
  }

  failed(address: string): void {
    const now = this.#now();
    const known = this.#records.get(address);
    const failures = known === undefined || known.forget <= now ? 1 : known.failures + 1;
    // Deleted and set again, it is the last.
    this.#records.delete(address);
    this.#records.set(address, { failures, next: now + waitAfter(failures), forget: now + MEMORY });
    if (this.#records.size > MOST) this.#records.delete(this.#records.keys().next().value!);
  }

  succeeded(address: string): void {
    this.#records.delete(address);
  }
}

function waitAfter(failures: number): number {
  return Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** Math.min(10, failures - 1));
}
