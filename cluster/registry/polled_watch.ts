/**
 * Cells of a registry that is looked at again and again.
 *
 * @module
 */
import { messageOf } from "../../core/errors.ts";
import type { CellRecord } from "../../core/registry/cell_record.ts";
import { CELL_TTL, Membership, type RecordTexts } from "../../core/registry/membership.ts";
import type { CellWatch } from "../../core/registry/registry.ts";
import { log } from "../logs/log.ts";
import { RepeatedLog } from "../logs/repeated_log.ts";

/** Options of {@link PolledWatch}. */
export interface PolledWatchOptions {
  /** How the registry was named, for people. */
  readonly name: string;
  /** All records. @throws if none of them can be read */
  readonly list: () => Promise<RecordTexts>;
  readonly onChange: () => void;
  /** Milliseconds between two looks. */
  readonly pollMs: number;
  /** Milliseconds without a change after which a cell counts as gone; default: `CELL_TTL`. */
  readonly ttlMs?: number;
}

/** Looks. */
export class PolledWatch implements CellWatch {
  readonly #options: PolledWatchOptions;
  readonly #membership: Membership;
  readonly #failures = new RepeatedLog();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #looking: Promise<void> = Promise.resolve();
  #seen = performance.now();
  #closed = false;

  private constructor(options: PolledWatchOptions) {
    this.#options = options;
    const onProblem = (place: string, problem: string) => log("warn", `registry ${options.name}: ${place} is left out: ${problem}`);
    this.#membership = new Membership({ ttl: options.ttlMs, onProblem });
  }

  /** Looks once, and then on and on. @throws what `list` throws */
  static async start(options: PolledWatchOptions): Promise<PolledWatch> {
    const watch = new PolledWatch(options);
    watch.#membership.see(await options.list(), performance.now());
    watch.#schedule();
    return watch;
  }

  get cells(): readonly CellRecord[] {
    return this.#membership.live;
  }

  get age(): number {
    return performance.now() - this.#seen;
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#looking;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #schedule(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#looking = this.#look().then(() => this.#schedule());
    }, this.#options.pollMs);
  }

  async #look(): Promise<void> {
    const { name, list, onChange } = this.#options;
    try {
      const texts = await list();
      const now = performance.now();
      // Where a look has taken so long, cells could not write either, or nobody was there to see that they did.
      if (now - this.#seen > (this.#options.ttlMs ?? CELL_TTL) / 2) this.#membership.blind(now);
      this.#seen = now;
      if (this.#membership.see(texts, this.#seen)) onChange();
    } catch (error) {
      this.#membership.blind(performance.now());
      this.#failures.say(`cannot read ${name}; the cells that were last seen stay: ${messageOf(error)}`, 1);
    }
  }
}
