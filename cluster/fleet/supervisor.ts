/**
 * Keeps one worker process of this host running: starts it, restarts it when it ends, waits longer after each failure, and gives up after too many.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { LATER_EXIT_CODE, REFUSED_EXIT_CODE, UNABLE_EXIT_CODE } from "../../core/wire/protocol.ts";
import { log, logRecord } from "../logs/log.ts";
import type { WorkerProcess } from "../processes/spawn.ts";

/** Starts the process of a slot under a name of its own. */
export type StartProcess = (worker: string) => WorkerProcess;

/** Failures in a row after which a slot is given up. */
const MOST_FAILURES = 5;
/** A worker that was ready for so many milliseconds leaves a clean record: loading alone may take longer. */
const HEALTHY_AFTER = 30_000;
/** Milliseconds before the first new attempt, and how much longer every further one is put off: what has worked before will again, once a full disk is not full. */
const FIRST_DELAY = 100;
const GROWTH = { neverReady: 2, onceReady: 4 };
const LONGEST_DELAY = 10_000;

/** Supervises one slot. */
export class Supervisor {
  /** Rejects when the slot is given up. */
  readonly givenUp: Promise<never>;
  readonly #slot: string;
  readonly #start: StartProcess;
  readonly #mostFailures: number;
  readonly #healthyAfter: number;
  #giveUp: (error: LatentmeshError) => void;
  #process: WorkerProcess | null = null;
  #incarnation = 0;
  #failures = 0;
  /** When the process that runs was ready; null: not yet. */
  #readyAt: number | null = null;
  #onceReady = false;
  #stopped = false;
  #wake: () => void = () => {};
  readonly #running: Promise<void>;

  /** @param slot what the worker is for, such as `decode-0.1` */
  constructor(slot: string, start: StartProcess, options: { readonly mostFailures?: number; readonly healthyAfterMs?: number } = {}) {
    this.#mostFailures = options.mostFailures ?? MOST_FAILURES;
    this.#healthyAfter = options.healthyAfterMs ?? HEALTHY_AFTER;
    this.#slot = slot;
    this.#start = start;
    const { promise, reject } = Promise.withResolvers<never>();
    this.givenUp = promise;
    // Whoever starts the cluster looks at it; until then it must not count as unhandled.
    promise.catch(() => {});
    this.#giveUp = reject;
    this.#running = this.#run();
  }

  /** Name of the worker that runs now. */
  get worker(): string {
    return `${this.#slot}/${this.#incarnation}`;
  }

  /** The worker that runs has loaded what it is to be, and is linked. */
  ready(): void {
    this.#readyAt ??= performance.now();
    this.#onceReady = true;
  }

  /** Ends a worker that no longer answers; the next one is started. */
  fence(): void {
    this.#process?.kill();
  }

  /** Ends the process and starts no other. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#process?.kill();
    this.#wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    let turnedAway = 0;
    while (!this.#stopped) {
      this.#incarnation++;
      this.#readyAt = null;
      try {
        this.#process = this.#start(this.worker);
      } catch (error) {
        // It cannot be started at all, and will not be able to be next time.
        return this.#giveUp(error as LatentmeshError);
      }
      const { code, lastLines, unloadable = false } = await this.#process.ended;
      this.#process = null;
      if (this.#stopped) return;
      if (this.#readyAt !== null && performance.now() - this.#readyAt > this.#healthyAfter) this.#failures = 0;
      if (code === REFUSED_EXIT_CODE) return this.#giveUp(new LatentmeshError("unauthorized", `Worker ${this.worker} was refused: ${lastLines}`));
      // What has worked before will again.
      if ((unloadable || code === UNABLE_EXIT_CODE) && !this.#onceReady) {
        return this.#giveUp(new LatentmeshError("worker_lost", `Worker ${this.worker} cannot be started: ${lastLines}`));
      }
      if (code === LATER_EXIT_CODE) {
        // Its predecessor may still be thought to be there; or it is one too many, which needs to be said once.
        log(turnedAway === 0 ? "warn" : "debug", `worker  ${this.worker} has to wait: ${lastLines}`);
        await this.#sleep(Math.min(LONGEST_DELAY, FIRST_DELAY * GROWTH.neverReady ** turnedAway++));
        continue;
      }
      turnedAway = 0;
      const said = lastLines === "" ? "" : `: ${lastLines}`;
      if (++this.#failures >= this.#mostFailures) {
        return this.#giveUp(
          new LatentmeshError(
            "worker_lost",
            `Worker ${this.#slot} ended ${this.#failures} times in a row, the last time with code ${code}, and is given up${said}`,
          ),
        );
      }
      const growth = this.#onceReady ? GROWTH.onceReady : GROWTH.neverReady;
      const delay = Math.min(LONGEST_DELAY, FIRST_DELAY * growth ** (this.#failures - 1));
      const values = { worker: this.worker, code, said, delay };
      logRecord("warn", "worker  {worker} ended with code {code}{said}; starting it again in {delay} ms", values);
      await this.#sleep(delay);
    }
  }

  async #sleep(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
