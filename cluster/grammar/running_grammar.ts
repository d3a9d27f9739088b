/**
 * One answer's grammar, as whoever chooses its tokens sees it.
 *
 * @module
 */
import type { Foresight, TokenConstraint } from "../../core/engine.ts";
import type { LatentmeshError } from "../../core/errors.ts";

/** A constraint that is given back when its request has ended. */
export type GrammarConstraint = TokenConstraint & Disposable;

/** What an answer's grammar can do. */
export interface GrammarActions {
  accept(token: number): void;
  /** @param at tokens that the answer has */
  foresee(at: number, tokens: readonly number[]): void;
  close(): void;
}

/** Waits for masks from the thread. */
export class RunningGrammar implements GrammarConstraint, Foresight {
  mask: Uint32Array = new Uint32Array(0);
  settled: Promise<void> | null = null;
  readonly foresight: Foresight = this;
  #waiting: PromiseWithResolvers<void> | null = null;
  /** Tokens that were taken. */
  #taken = 0;
  /** Masks behind tokens that may be taken next. */
  #ahead: readonly Uint32Array[] = [];
  #foreseeing: PromiseWithResolvers<void> | null = null;
  readonly #actions: GrammarActions;

  constructor(actions: GrammarActions) {
    this.#actions = actions;
    this.#wait();
  }

  accept(token: number): void {
    this.#wait();
    this.#taken++;
    this.#foresaw([]);
    this.#actions.accept(token);
  }

  get known(): number {
    return this.#ahead.length;
  }

  foresee(tokens: readonly number[]): Promise<void> {
    this.#foresaw([]);
    this.#foreseeing = Promise.withResolvers();
    this.#actions.foresee(this.#taken, tokens);
    return this.#foreseeing.promise;
  }

  maskBehind(tokens: readonly number[]): Uint32Array {
    return tokens.length === 0 ? this.mask : this.#ahead[tokens.length - 1];
  }

  [Symbol.dispose](): void {
    this.#foresaw([]);
    // Nobody waits for what will not come: a step of others might.
    this.#waiting?.resolve();
    this.#actions.close();
  }

  /** A mask has come. @param at tokens that the thread knew: behind those that were taken since, something else may come */
  settle(at: number, mask: Uint32Array): void {
    if (at !== this.#taken) return;
    this.mask = mask;
    this.settled = null;
    this.#waiting?.resolve();
    this.#waiting = null;
  }

  /** Masks ahead have come. @param at tokens that had been taken when they were asked for */
  foreseen(at: number, masks: readonly Uint32Array[]): void {
    if (at === this.#taken) this.#foresaw(masks);
  }

  /** No mask will come any more. */
  fail(error: LatentmeshError): void {
    this.#foresaw([]);
    this.#wait().reject(error);
  }

  #foresaw(masks: readonly Uint32Array[]): void {
    this.#ahead = masks;
    this.#foreseeing?.resolve();
    this.#foreseeing = null;
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
