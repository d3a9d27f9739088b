/**
 * `min_tokens`: until so many tokens have come, none may come that ends the answer.
 *
 * @module
 */
import type { TokenConstraint } from "../../../core/engine.ts";

/** Keeps one generation from ending too early. */
export class LeastTokens implements TokenConstraint {
  readonly settled = null;
  readonly #before: Uint32Array;
  readonly #after: Uint32Array;
  #left: number;

  /** @param least tokens, one at least */
  constructor(least: number, vocabSize: number, stopTokens: ReadonlySet<number>) {
    this.#left = least;
    this.#after = new Uint32Array(Math.ceil(vocabSize / 32)).fill(0xffffffff);
    if (vocabSize % 32 !== 0) this.#after[this.#after.length - 1] = 2 ** (vocabSize % 32) - 1;
    this.#before = this.#after.slice();
    for (const token of stopTokens) this.#before[token >>> 5] &= ~(1 << (token & 31));
  }

  get mask(): Uint32Array {
    return this.maskBehind([]);
  }

  maskBehind({ length }: readonly number[]): Uint32Array {
    return this.#left > length ? this.#before : this.#after;
  }

  accept(): void {
    this.#left--;
  }
}
