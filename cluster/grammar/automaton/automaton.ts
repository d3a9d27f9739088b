/**
 * A grammar as states, found as they are needed: a state is what may still follow. What is called while it runs is part of the state, so that rules need no
 * stack of their own.
 *
 * @module
 */
import { Derivation } from "./derivation.ts";
import { type Expr, Expressions, NOTHING } from "./expressions.ts";

/** A state's number. */
export type State = number;

/** The state from which nothing is left to come. */
export const DEAD: State = 0;

/** Not found out yet. */
const UNKNOWN = -1;

/** Steps through an expression byte by byte. */
export class Automaton {
  readonly expressions: Expressions;
  readonly #derivation: Derivation;
  readonly #exprs: Expr[] = [];
  readonly #states = new Map<Expr, State>();
  readonly #classOf: Uint8Array[] = [];
  readonly #next: Int32Array[] = [];

  constructor(expressions: Expressions, derivation: Derivation = new Derivation(expressions)) {
    this.expressions = expressions;
    this.#derivation = derivation;
    this.stateOf(NOTHING);
  }

  /** What finding states has taken so far. */
  get work(): number {
    return this.#derivation.work;
  }

  /** Bytes that what is known takes, roughly. */
  get bytes(): number {
    return this.#exprs.length * 200 + this.expressions.nodes.size * 60;
  }

  stateOf(e: Expr): State {
    let state = this.#states.get(e);
    if (state === undefined) {
      // First what may have to be asked again.
      const { classOf, members } = this.expressions.sets.partition(this.#derivation.partition(e));
      state = this.#exprs.push(e) - 1;
      this.#states.set(e, state);
      this.#classOf.push(classOf);
      this.#next.push(new Int32Array(members.length).fill(UNKNOWN));
    }
    return state;
  }

  /** What may still follow. */
  expressionOf(state: State): Expr {
    return this.#exprs[state];
  }

  /** The state after one more byte. @throws {TooComplex} */
  step(state: State, byte: number): State {
    const next = this.#next[state][this.#classOf[state][byte]];
    return next === UNKNOWN ? this.#find(state, byte) : next;
  }

  /** The state after more bytes. @throws {TooComplex} */
  run(state: State, bytes: Uint8Array): State {
    for (const byte of bytes) if ((state = this.step(state, byte)) === DEAD) return DEAD;
    return state;
  }

  /** Whether the text may end here. */
  accepts(state: State): boolean {
    return this.expressions.nullable(this.#exprs[state]);
  }

  #find(state: State, byte: number): State {
    const next = this.stateOf(this.#derivation.derivative(this.#exprs[state], byte));
    this.#next[state][this.#classOf[state][byte]] = next;
    return next;
  }
}
