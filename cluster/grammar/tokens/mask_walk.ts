/**
 * Which tokens may come next: the tree of tokens, walked along an automaton. It can be stopped and gone on with.
 *
 * @module
 */
import { type Automaton, DEAD, type State } from "../automaton/automaton.ts";
import { inTurns, Unfinished } from "../automaton/derivation.ts";
import { type Expr, Kind } from "../automaton/expressions.ts";
import { afterPlain, MOST_PLAIN } from "./plain_tokens.ts";
import type { TokenTables } from "./token_tables.ts";
import type { TokenTrie } from "./token_trie.ts";

/** Nodes, or visits of expressions, between two turns. */
const STRIDE = 4096;

/** Finds the masks of an automaton's states. */
export class MaskWalk {
  readonly #automaton: Automaton;
  readonly #tables: TokenTables;
  readonly #anyCharacter: Expr;
  readonly #afterPlain = new Map<State, State | null>();

  /** @param anyCharacter what strings consist of */
  constructor(automaton: Automaton, tables: TokenTables, anyCharacter: Expr) {
    this.#automaton = automaton;
    this.#tables = tables;
    this.#anyCharacter = anyCharacter;
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
    if (yield* this.#isLong(state)) return { count: MOST_PLAIN, ends: false };
    for (let count = 0; count < MOST_PLAIN; count++) {
      const after = yield* this.#after(state);
      if (after === null || after === DEAD) return { count, ends: after === DEAD };
      // Where nothing changes, nothing will.
      if (after === state) break;
      state = after;
    }
    return { count: MOST_PLAIN, ends: false };
  }

  /** Whether a string goes on that may have many more characters: counting them one by one would be a state for each. */
  *#isLong(state: State): Generator<void, boolean> {
    const x = this.#automaton.expressions;
    const e = this.#automaton.expressionOf(state);
    if (x.kind(e) !== Kind.Sequence) return false;
    const [repeat, rest] = [x.left(e), x.right(e)];
    if (x.kind(repeat) !== Kind.Repeat || x.left(repeat) !== this.#anyCharacter || x.bounds(repeat).max < MOST_PLAIN) return false;
    return (yield* this.#after(yield* inTurns(() => this.#automaton.stateOf(rest)))) === DEAD;
  }

  /** The state to which any plain character leads. */
  *#after(state: State): Generator<void, State | null> {
    let after = this.#afterPlain.get(state);
    if (after === undefined) this.#afterPlain.set(state, after = yield* inTurns(() => afterPlain(this.#automaton, state)));
    return after;
  }

  *#walk(state: State, { bytes, depths, ends, tokens, deepest }: TokenTrie, mask: Uint32Array): Generator<void, void> {
    const automaton = this.#automaton;
    const path = new Int32Array(deepest + 1);
    path[0] = state;
    for (let node = 0, left = STRIDE, work = automaton.work; node < bytes.length;) {
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
      if (--left <= 0 || automaton.work - work > STRIDE) {
        left = STRIDE;
        work = automaton.work;
        yield;
      }
    }
  }
}
