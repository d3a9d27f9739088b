/**
 * What is done to a server while it serves.
 *
 * @module
 */
import type { Random } from "../support/random.ts";
import { clusterOf } from "./accounts.ts";

/** How often each was done. */
export type FaultCounts = Record<
  "killed" | "stopped" | "devices failed" | "coordinator stopped for seconds" | "clock jumps" | "disks full for seconds",
  number
>;

const FILLER = "full";

/** Milliseconds after which something happens though nothing was answered. */
const LONGEST_PEACE = 60_000;

/** How often, and for how many milliseconds after, something may happen to a worker: one that ends five times, each time soon after it was ready, is given up. */
const MOST_IN_A_ROW = 3;
const QUIET = 45_000;

/** Does something at random moments until it is told to end. */
export class Faults {
  readonly counts: FaultCounts = {
    killed: 0,
    stopped: 0,
    "devices failed": 0,
    "coordinator stopped for seconds": 0,
    "clock jumps": 0,
    "disks full for seconds": 0,
  };
  readonly #url: string;
  readonly #pid: number;
  readonly #disks: readonly string[];
  readonly #random: Random;
  /** What has happened to the worker in each place. */
  readonly #past = new Map<string, { count: number; last: number }>();

  /** @param disks small ones that only this server writes to */
  constructor(url: string, pid: number, disks: readonly string[], random: Random) {
    this.#url = url;
    this.#pid = pid;
    this.#disks = disks;
    this.#random = random;
  }

  /**
   * @param ending looked at between two of them
   * @param answered requests that were: what never gets a second in peace is starved, which shows nothing, so that something is answered between two faults
   */
  async run(ending: () => boolean, answered: () => number): Promise<void> {
    while (!ending()) {
      const before = answered();
      await sleep(500 + this.#random.below(6000));
      const longest = performance.now() + LONGEST_PEACE;
      while (!ending() && answered() === before && performance.now() < longest) await sleep(100);
      if (!ending()) await this.#one();
    }
  }

  async #one(): Promise<void> {
    const dice = this.#random.below(12);
    if (dice === 0) return await this.#stopCoordinator();
    if (dice === 10) return this.#jump();
    // What is written is written while workers start, so that one is killed then.
    const full = dice === 11 && this.#disks.length > 0;
    if (full) await this.#fill();
    await this.#worker(full ? 1 : dice);
    if (full) await this.#free();
  }

  async #worker(dice: number): Promise<void> {
    // One thing at a time happens to workers: one that dies again and again while it starts is given up, as it should be.
    const status = await clusterOf(this.#url).catch(() => null);
    if (status === null || !status.units.every(({ up }) => up)) return;
    const workers = status.units.flatMap(({ workers }) =>
      workers.flatMap(({ pid, worker }) => pid === null || worker === null ? [] : [{ pid, past: this.#pastOf(placeOf(worker)) }])
    ).filter(({ past }) => past.count < MOST_IN_A_ROW);
    if (workers.length === 0) return;
    const { pid, past } = workers[this.#random.below(workers.length)];
    const [what, signal] = dice < 5
      ? ["killed", "SIGKILL"] as const
      : dice < 8
      ? ["devices failed", "SIGUSR1"] as const
      : ["stopped", "SIGSTOP"] as const;
    if (!send(pid, signal)) return;
    past.count++;
    past.last = performance.now();
    this.counts[what]++;
  }

  #pastOf(place: string): { count: number; last: number } {
    let past = this.#past.get(place);
    if (past === undefined || performance.now() - past.last > QUIET) this.#past.set(place, past = { count: 0, last: performance.now() });
    return past;
  }

  /** The time of day, an hour or so forward or back. */
  #jump(): void {
    if (send(this.#pid, "SIGUSR2")) this.counts["clock jumps"]++;
  }

  async #fill(): Promise<void> {
    for (const disk of this.#disks) await writeUntilFull(`${disk}/${FILLER}`).catch(() => {});
  }

  async #free(): Promise<void> {
    await sleep(1000 + this.#random.below(3000));
    // The server may have ended, and its disks with it.
    for (const disk of this.#disks) await Deno.remove(`${disk}/${FILLER}`).catch(() => {});
    this.counts["disks full for seconds"]++;
  }

  /** From within, everything seems to have taken seconds. */
  async #stopCoordinator(): Promise<void> {
    if (!send(this.#pid, "SIGSTOP")) return;
    this.counts["coordinator stopped for seconds"]++;
    await sleep(1000 + this.#random.below(5000));
    send(this.#pid, "SIGCONT");
  }
}

async function writeUntilFull(path: string): Promise<void> {
  using file = await Deno.create(path);
  for (let size = 2 ** 20; size > 0;) {
    try {
      await file.write(new Uint8Array(size));
    } catch {
      size >>= 1;
    }
  }
}

/** Of a worker called PLACE/INCARNATION. */
function placeOf(worker: string): string {
  return worker.split("/")[0];
}

function send(pid: number, signal: Deno.Signal): boolean {
  try {
    Deno.kill(pid, signal);
    return true;
  } catch {
    // It has ended meanwhile.
    return false;
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
