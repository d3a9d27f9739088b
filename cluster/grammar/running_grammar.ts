/**
 * One answer's grammar, as whoever chooses its tokens sees it.
 *
 * @module
 */
import type { TokenConstraint } from "../../core/engine.ts";
import type { LatentmeshError } from "../../core/errors.ts";

/** A constraint that is given back when its request has ended. */
export type GrammarConstraint = TokenConstraint & Disposable;

/** What an answer's grammar can do. */
export interface GrammarActions {
  accept(token: number): void;
  close(): void;
}

/** Waits for masks from the thread. */
export class RunningGrammar implements GrammarConstraint {
  mask: Uint32Array = new Uint32Array(0);
  settled: Promise<void> | null = null;
  #waiting: PromiseWithResolvers<void> | null = null;
  /** Masks that have not come; only the last one counts. */
  #asked = 0;
  readonly #actions: GrammarActions;

  constructor(actions: GrammarActions) {
    this.#actions = actions;
    this.#ask();
  }

  accept(token: number): void {
    this.#ask();
    this.#actions.accept(token);
  }

  [Symbol.dispose](): void {
    this.#actions.close();
  }

  /** A mask has come. */
  settle(mask: Uint32Array): void {
    if (--this.#asked > 0) return;
    this.mask = mask;
    this.settled = null;
    this.#waiting?.resolve();
    this.#waiting = null;
  }

  /** No mask will come any more. */
  fail(error: LatentmeshError): void {
    this.#wait().reject(error);
  }

  #ask(): void {
    this.#asked++;
    this.#wait();
  }

  #wait(): PromiseWithResolvers<void> {
    if (this.#waiting === null) {
      this.#waiting = Promise.withResolvers();
      this.#waiting.promise.catch(() => {});
      this.settled = this.#waiting.promise;
    }
    return this.#waiting;
  }
}
