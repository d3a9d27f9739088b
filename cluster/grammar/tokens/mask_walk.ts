/**
 * Which tokens may come next: the tree of tokens, walked along an automaton. It can be stopped and gone on with.
 *
 * @module
 */
import { type Automaton, DEAD, type State } from "../automaton/automaton.ts";
import { inTurns, Unfinished } from "../automaton/derivation.ts";
import { afterPlain, MOST_PLAIN } from "./plain_tokens.ts";
import type { TokenTables } from "./token_tables.ts";
import type { TokenTrie } from "./token_trie.ts";

/** Nodes between two looks at how much has been done. */
const STRIDE = 4096;

/** Finds the masks of an automaton's states. */
export class MaskWalk {
  readonly #automaton: Automaton;
  readonly #tables: TokenTables;
  readonly #afterPlain = new Map<State, State | null>();

  constructor(automaton: Automaton, tables: TokenTables) {
    this.#automaton = automaton;
    this.#tables = tables;
  }

  /**
   * The tokens that may come next. It yields now and then, so that others get their turn.
   *
   * @throws {TooComplex}
   */
  *mask(state: State): Generator<void, Uint32Array<ArrayBuffer>> {
    const { words, plain, plainTrie, otherTrie, vocabulary } = this.#tables;
    const mask = new Uint32Array(words);
    const free = yield* this.#freeCharacters(state);
    mask.set(plain[free.count]);
    yield;
    // Longer ones are looked at, unless none can come.
    if (!free.ends && free.count < MOST_PLAIN) yield* this.#walk(state, plainTrie, mask);
    yield* this.#walk(state, otherTrie, mask);
    if (this.#automaton.accepts(state)) { for (const token of vocabulary.stopTokens) mask[token >>> 5] |= 1 << (token & 31); }
    return mask;
  }

  /** How many plain characters may come whatever they are, and whether none may come after them. */
  *#freeCharacters(state: State): Generator<void, { readonly count: number; readonly ends: boolean }> {
    for (let count = 0; count < MOST_PLAIN; count++) {
      let after = this.#afterPlain.get(state);
      if (after === undefined) {
        const at = state;
        this.#afterPlain.set(state, after = yield* inTurns(() => afterPlain(this.#automaton, at)));
      }
      if (after === null || after === DEAD) return { count, ends: after === DEAD };
      // Where nothing changes, nothing will.
      if (after === state) break;
      state = after;
    }
    return { count: MOST_PLAIN, ends: false };
  }

  *#walk(state: State, { bytes, depths, ends, tokens, deepest }: TokenTrie, mask: Uint32Array): Generator<void, void> {
    const automaton = this.#automaton;
    const path = new Int32Array(deepest + 1);
    path[0] = state;
    for (let node = 0, left = STRIDE; node < bytes.length;) {
      const depth = depths[node];
      let next: State;
      try {
        next = automaton.step(path[depth], bytes[node]);
      } catch (error) {
        if (!(error instanceof Unfinished)) throw error;
        yield;
        continue;
      }
      if (next === DEAD) node = ends[node];
      else {
        const token = tokens[node];
        if (token >= 0) mask[token >>> 5] |= 1 << (token & 31);
        path[depth + 1] = next;
        node++;
      }
      if (--left === 0) {
        left = STRIDE;
        yield;
      }
    }
  }
}
