/**
 * Compiled grammars by their text: one that has been seen before costs nothing.
 *
 * @module
 */
import type { CompiledGrammar } from "./compiled_grammar.ts";

/** Bytes that all grammars together may take, roughly. */
const MOST_BYTES = 256 << 20;

/** Keeps the grammars used last. */
export class GrammarCache {
  /** The one used last is last. */
  readonly #grammars = new Map<string, CompiledGrammar>();
  readonly #most: number;

  constructor(mostBytes: number = MOST_BYTES) {
    this.#most = mostBytes;
  }

  get(text: string): CompiledGrammar | undefined {
    const grammar = this.#grammars.get(text);
    if (grammar === undefined) return undefined;
    this.#grammars.delete(text);
    this.#grammars.set(text, grammar);
    return grammar;
  }

  set(text: string, grammar: CompiledGrammar): void {
    this.#grammars.set(text, grammar);
    this.trim();
  }

  /** Gives up what was used longest ago; answers that follow it keep it until they end. Grammars grow as they are used. */
  trim(): void {
    let bytes = 0;
    for (const [text, grammar] of [...this.#grammars].reverse()) {
      bytes += grammar.bytes;
      if (bytes > this.#most) this.#grammars.delete(text);
    }
  }
}
