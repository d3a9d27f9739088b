/**
 * Finds out that nothing happens any more.
 *
 * @module
 */
import type { BenchServer } from "./server.ts";

/** Milliseconds without a token after which a case hangs; before all streams have begun, without any step or chunk of a prompt being done either. */
const NEXT_TOKEN = 10_000;
/** Before that, as many more for each token of a prompt. */
const PER_PROMPT_TOKEN = 2;
const POLL_INTERVAL = 1000;

/** A case came to a standstill. */
export class HangError extends Error {
  override readonly name = "HangError";
}

/** The bounds of streams whose prompts have so many tokens each. */
export function boundsFor(promptTokens: number): Bounds {
  return { first: NEXT_TOKEN + PER_PROMPT_TOKEN * promptTokens, next: NEXT_TOKEN, interval: POLL_INTERVAL };
}

/** Who is watched. */
export type Watched = Pick<BenchServer, "status" | "totals" | "log">;

/** How long is too long, in milliseconds. */
export interface Bounds {
  /** Without a token and without any step or chunk of a prompt being done, before all streams have begun. */
  readonly first: number;
  /** Without a token, when they have. */
  readonly next: number;
  /** Between polls. */
  readonly interval: number;
}

/** Watches one load. */
export class Watch implements Disposable {
  /** Rejects with a {@link HangError} that says what everybody is at. */
  readonly hung: Promise<never>;
  readonly #server: Watched;
  readonly #bounds: Bounds;
  readonly #timer: ReturnType<typeof setInterval>;
  #reject: (error: HangError) => void;
  #begun = false;
  #last = performance.now();
  #work = -1;
  #polling = false;

  constructor(server: Watched, bounds: Bounds) {
    const { promise, reject } = Promise.withResolvers<never>();
    promise.catch(() => {});
    this.hung = promise;
    this.#reject = reject;
    this.#server = server;
    this.#bounds = bounds;
    this.#timer = setInterval(() => void this.#poll(), bounds.interval);
  }

  /** Tokens have come. */
  tokens(): void {
    this.#last = performance.now();
  }

  /** All streams have got one. */
  allBegun(): void {
    this.tokens();
    this.#begun = true;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  async #poll(): Promise<void> {
    if (this.#polling) return;
    this.#polling = true;
    try {
      // Only where tokens are far apart: asking costs the workers something.
      if (!this.#begun) await this.#lookForWork();
      const silence = performance.now() - this.#last;
      if (silence > (this.#begun ? this.#bounds.next : this.#bounds.first)) this.#reject(new HangError(await this.#story(silence)));
    } finally {
      this.#polling = false;
    }
  }

  async #lookForWork(): Promise<void> {
    const work = (await this.#server.totals())?.work;
    if (work === undefined || work <= this.#work) return;
    this.#work = work;
    this.tokens();
  }

  async #story(silence: number): Promise<string> {
    const status = await this.#server.status();
    const lines = [`no token for ${(silence / 1000).toFixed(0)} s`];
    if (status === null) lines.push("the server does not say what it is at");
    else {
      const { active, waiting, running } = status.scheduling;
      lines.push(`the server: ${active} sequences, of which ${waiting} wait and ${running} decode; ${status.steps.steps} steps so far`);
      for (const unit of status.units) {
        lines.push(`${unit.name}: ${unit.up ? "up" : "down"}, epoch ${unit.epoch}, ${unit.sequences} sequences`);
        for (const { rank, worker, pid, restarts, stats } of unit.workers) {
          const doing = stats === null
            ? "does not answer"
            : `${stats.parts.prefill.steps} chunks, ${stats.parts.decode.steps} steps, ${stats.collectives} sums, ${stats.sequences} sequences, ${stats.freeBlocks} free blocks`;
          lines.push(`  rank ${rank}: ${worker ?? "nobody is there"}, process ${pid}, started again ${restarts} times: ${doing}`);
        }
      }
    }
    return [...lines, "the last lines of the server's log:", ...this.#server.log.map((line) => `  ${line}`)].join("\n");
  }
}
