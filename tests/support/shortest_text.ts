/**
 * The shortest way to the end of a grammar: where chance goes on for ever, a test does not.
 *
 * @module
 */
import type { Automaton, State } from "../../cluster/grammar/automaton/automaton.ts";
import { DEAD } from "../../cluster/grammar/automaton/automaton.ts";
import { inTurns } from "../../cluster/grammar/automaton/derivation.ts";
import { type Expr, type Expressions, Kind } from "../../cluster/grammar/automaton/expressions.ts";

/** Runs something that yields to its end. */
export function finish<T>(steps: Generator<void, T>): T {
  while (true) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** Finds shortest texts of one automaton's states. */
export class ShortestTexts {
  readonly #automaton: Automaton;
  readonly #lengths = new Map<Expr, number>();

  constructor(automaton: Automaton) {
    this.#automaton = automaton;
  }

  /** Bytes that complete a text; the shortest there are, as far as lengths of intersections can be guessed. */
  complete(state: State): Uint8Array<ArrayBuffer> {
    const automaton = this.#automaton;
    const bytes: number[] = [];
    while (!automaton.accepts(state)) {
      if (bytes.length > 100_000) throw new Error("a text does not come to an end");
      const found = this.#direct(state);
      if (found !== null) return Uint8Array.from([...bytes, ...found]);
      let best = { byte: -1, next: DEAD, length: Infinity };
      for (let byte = 0; byte < 256; byte++) {
        const next = this.#step(state, byte);
        if (next === DEAD) continue;
        const length = this.#length(automaton.expressionOf(next));
        if (length < best.length) best = { byte, next, length };
      }
      if (best.byte < 0) throw new Error(`nothing may follow in state ${state}`);
      bytes.push(best.byte);
      state = best.next;
    }
    return Uint8Array.from(bytes);
  }

  #step(state: State, byte: number): State {
    return finish(inTurns(() => this.#automaton.step(state, byte)));
  }

  /** The shortest text within a few states, found by looking at all of them. */
  #direct(state: State): number[] | null {
    const automaton = this.#automaton;
    const seen = new Map<State, { readonly from: State; readonly byte: number } | null>([[state, null]]);
    for (const at of seen.keys()) {
      if (seen.size > 300) return null;
      if (automaton.accepts(at)) {
        const bytes: number[] = [];
        for (let step = seen.get(at)!; step !== null; step = seen.get(step.from)!) bytes.unshift(step.byte);
        return bytes;
      }
      for (let byte = 0; byte < 256; byte++) {
        const next = this.#step(at, byte);
        if (next !== DEAD && !seen.has(next)) seen.set(next, { from: at, byte });
      }
    }
    return null;
  }

  #length(e: Expr): number {
    if (!this.#lengths.has(e)) this.#measure(e);
    return this.#lengths.get(e)!;
  }

  /** Lengths of all that an expression consists of, better and better until nothing changes. */
  #measure(e: Expr): void {
    const x = this.#automaton.expressions;
    const parts = new Set([e]);
    for (const part of parts) for (const child of childrenOf(x, part)) if (!this.#lengths.has(child)) parts.add(child);
    const order = [...parts].reverse();
    for (const part of order) this.#lengths.set(part, Infinity);
    for (let changed = true; changed;) {
      changed = false;
      for (const part of order) {
        const length = this.#lengthOf(part);
        if (length < this.#lengths.get(part)!) {
          this.#lengths.set(part, length);
          changed = true;
        }
      }
    }
  }

  #lengthOf(e: Expr): number {
    const x = this.#automaton.expressions;
    if (x.nullable(e)) return 0;
    const lengths = childrenOf(x, e).map((child) => this.#lengths.get(child)!);
    switch (x.kind(e)) {
      case Kind.Bytes:
        return 1;
      case Kind.Sequence:
        return lengths[0] + lengths[1];
      case Kind.Union:
        return Math.min(...lengths);
      case Kind.Intersection:
        // At least.
        return Math.max(...lengths);
      case Kind.Repeat:
        return lengths[0] * x.bounds(e).min;
      case Kind.Rule:
        return lengths[0];
      default:
        return x.kind(e) === Kind.Complement ? 1 : Infinity;
    }
  }
}

function childrenOf(x: Expressions, e: Expr): Expr[] {
  switch (x.kind(e)) {
    case Kind.Sequence:
    case Kind.Union:
    case Kind.Intersection:
      return [x.left(e), x.right(e)];
    case Kind.Repeat:
      return [x.left(e)];
    case Kind.Rule:
      return [finish(inTurns(() => x.bodyOf(e)))];
    default:
      return [];
  }
}
