/**
 * Notices cells that say nothing: they are asked whether they are there, and what they have is given up if they do not answer.
 *
 * @module
 */
import type { CellRecord } from "../../core/registry/cell_record.ts";
import { log } from "../logs/log.ts";
import type { CellClient } from "./cell_client.ts";
import type { FrontCells } from "./front_cells.ts";
import type { LiveAttempts } from "./live_attempts.ts";

/** How long things take, in milliseconds. */
export interface SilenceTimes {
  /** Between two looks; default: 1000. */
  readonly lookMs?: number;
  /** For which a request may hear nothing before its cell is asked whether it is there, or, if it is registered no longer, is given up; default: 5000. */
  readonly silenceMs?: number;
  /** That a cell has for its answer; default: 5000. */
  readonly answerMs?: number;
}

/** What is watched. */
export interface SilenceParts {
  readonly cells: FrontCells;
  readonly client: Pick<CellClient, "answers">;
  readonly attempts: LiveAttempts;
}

/** Watches for silence. */
export class Silence implements AsyncDisposable {
  readonly #parts: SilenceParts;
  readonly #times: Required<SilenceTimes>;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #closed = new AbortController();
  /** Questions without an answer yet, by process. */
  readonly #asked = new Map<string, Promise<void>>();

  constructor(parts: SilenceParts, { lookMs = 1000, silenceMs = 5000, answerMs = 5000 }: SilenceTimes = {}) {
    this.#parts = parts;
    this.#times = { lookMs, silenceMs, answerMs };
    this.#timer = setInterval(() => this.#look(performance.now()), lookMs);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#closed.abort();
    await Promise.all(this.#asked.values());
  }

  #look(now: number): void {
    const { cells, attempts } = this.#parts;
    const since = now - this.#times.silenceMs;
    for (const cell of attempts.silentSince(since)) {
      if (cells.lives(cell)) this.#ask(cell, since);
      else attempts.giveUp(cell, since, new Error("it is registered no longer, and says nothing"));
    }
    // They get requests again when they answer.
    for (const cell of cells.silent) this.#ask(cell, since);
  }

  #ask(cell: CellRecord, since: number): void {
    const key = `${cell.id} ${cell.instance}`;
    if (this.#asked.has(key)) return;
    this.#asked.set(key, this.#hear(cell, since).finally(() => this.#asked.delete(key)));
  }

  async #hear(cell: CellRecord, since: number): Promise<void> {
    const { cells, client, attempts } = this.#parts;
    const { answerMs } = this.#times;
    const waited = new AbortController();
    const timer = setTimeout(() => waited.abort(), answerMs);
    const answers = await client.answers(cell, AbortSignal.any([waited.signal, this.#closed.signal]));
    clearTimeout(timer);
    if (this.#closed.signal.aborted) return;
    if (answers) {
      attempts.heardOf(cell, performance.now());
      if (cells.heardOf(cell)) log("info", `cell "${cell.id}" answers again`);
    } else {
      const problem = `it is registered, and has not answered for ${answerMs / 1000} s`;
      if (cells.fallSilent(cell)) log("warn", `cell "${cell.id}" (${cell.url}): ${problem}; it gets no requests until it does`);
      attempts.giveUp(cell, since, new Error(problem));
    }
  }
}
