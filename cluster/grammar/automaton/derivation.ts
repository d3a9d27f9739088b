/**
 * What may follow a byte, by Brzozowski's derivatives, and whether anything fits an expression at all.
 *
 * @module
 */
import { ANYTHING, EMPTY, type Expr, type Expressions, Kind, NOTHING, TooComplex } from "./expressions.ts";

/** Visits of expressions that finding out whether anything fits one expression may take, in all and at a time. */
const MOST_SEARCHED = 1 << 20;
const TURN = 1 << 13;

/** It takes longer to find out: asked again, the search goes on where it was. */
export class Unfinished extends Error {}

/** Does something that may take longer, a little at a time. */
export function* inTurns<T>(action: () => T): Generator<void, T> {
  while (true) {
    try {
      return action();
    } catch (error) {
      if (!(error instanceof Unfinished)) throw error;
    }
    yield;
  }
}

/** A search that has begun. */
interface Search {
  readonly path: { readonly e: Expr; readonly after: Iterator<Expr> }[];
  readonly seen: Set<Expr>;
  work: number;
}

/** Derives expressions. */
export class Derivation {
  /** How much has been done, in visits of expressions. */
  work = 0;
  readonly #expressions: Expressions;
  readonly #partitions: number[] = [];
  readonly #alive = new Map<Expr, boolean>();
  readonly #searches = new Map<Expr, Search>();

  constructor(expressions: Expressions) {
    this.#expressions = expressions;
  }

  /** Number of a partition of bytes after which the same may follow. */
  partition(e: Expr): number {
    return this.#partitions[e] ??= this.#partition(e);
  }

  #partition(e: Expr): number {
    const { sets } = this.#expressions;
    const x = this.#expressions;
    this.work++;
    switch (x.kind(e)) {
      case Kind.Bytes:
        return sets.splitBy(x.left(e));
      case Kind.Sequence:
        return x.nullable(x.left(e)) ? sets.meet(this.partition(x.left(e)), this.partition(x.right(e))) : this.partition(x.left(e));
      case Kind.Union:
      case Kind.Intersection: {
        // Not by recursion: such lists are long.
        const kind = x.kind(e);
        let met = sets.whole;
        for (; x.kind(e) === kind; e = x.right(e)) met = sets.meet(met, this.partition(x.left(e)));
        return sets.meet(met, this.partition(e));
      }
      case Kind.Complement:
      case Kind.Repeat:
        return this.partition(x.left(e));
      case Kind.Rule:
        return this.partition(x.bodyOf(e));
      default:
        return sets.whole;
    }
  }

  /** What may follow `byte` at the beginning of `e`. */
  derivative(e: Expr, byte: number): Expr {
    const x = this.#expressions;
    this.work++;
    switch (x.kind(e)) {
      case Kind.Anything:
        return ANYTHING;
      case Kind.Bytes:
        return x.sets.has(x.left(e), byte) ? EMPTY : NOTHING;
      case Kind.Sequence: {
        const [a, b] = [x.left(e), x.right(e)];
        const after = x.sequence([this.derivative(a, byte), b]);
        return x.nullable(a) ? x.union([after, this.derivative(b, byte)]) : after;
      }
      case Kind.Union:
        return x.union(this.#each(e, byte));
      case Kind.Intersection:
        return this.pruned(x.intersection(this.#each(e, byte)));
      case Kind.Complement:
        return this.pruned(x.complement(this.derivative(x.left(e), byte)));
      case Kind.Repeat: {
        const { min, max } = x.bounds(e);
        return x.sequence([this.derivative(x.left(e), byte), x.repeat(x.left(e), Math.max(0, min - 1), max - 1)]);
      }
      case Kind.Rule:
        return this.derivative(x.bodyOf(e), byte);
      default:
        return NOTHING;
    }
  }

  /** Derivatives of the elements of a list that may be one. */
  #each(e: Expr, byte: number): Expr[] {
    const x = this.#expressions;
    const kind = x.kind(e);
    const derived: Expr[] = [];
    for (; x.kind(e) === kind; e = x.right(e)) {
      const after = this.derivative(x.left(e), byte);
      if (after !== NOTHING || kind === Kind.Intersection) derived.push(after);
    }
    derived.push(this.derivative(e, byte));
    return derived;
  }

  /** `e`, or nothing if no text fits it. @throws {Unfinished | TooComplex} as {@link alive} does */
  pruned(e: Expr): Expr {
    return this.alive(e) ? e : NOTHING;
  }

  /**
   * Whether any text fits. Only of intersections and complements that is not plain to see; what they lead to is looked through until something fits.
   *
   * @throws {Unfinished} if it has to be asked again
   * @throws {TooComplex} if it takes too long altogether
   */
  alive(e: Expr): boolean {
    const known = this.#plainlyAlive(e);
    if (known !== undefined) return known;
    const search = this.#searches.get(e) ?? { path: [{ e, after: this.#after(e) }], seen: new Set([e]), work: 0 };
    this.#searches.set(e, search);
    const begun = this.work;
    const found = this.#search(search, begun + TURN);
    search.work += this.work - begun;
    if (search.work > MOST_SEARCHED) throw new TooComplex("it takes too long to find out whether anything fits");
    if (found === null) throw new Unfinished();
    this.#searches.delete(e);
    return found;
  }

  /** @returns null if it is not found out yet */
  #search({ path, seen }: Search, until: number): boolean | null {
    while (path.length > 0) {
      if (this.work > until) return null;
      const { done, value: next } = path[path.length - 1].after.next();
      if (done) {
        path.pop();
        continue;
      }
      const alive = this.#plainlyAlive(next);
      if (alive) {
        for (const { e } of path) this.#alive.set(e, true);
        return true;
      }
      if (alive === false || seen.has(next)) continue;
      seen.add(next);
      path.push({ e: next, after: this.#after(next) });
    }
    for (const e of seen) this.#alive.set(e, false);
    return false;
  }

  #plainlyAlive(e: Expr): boolean | undefined {
    const x = this.#expressions;
    if (x.nullable(e)) return true;
    const kind = x.kind(e);
    if (kind !== Kind.Intersection && kind !== Kind.Complement) return e !== NOTHING;
    return this.#alive.get(e);
  }

  /** What an intersection or complement leads to, whether anything fits it or not. */
  #after(e: Expr): Iterator<Expr> {
    const x = this.#expressions;
    const { members } = x.sets.partition(this.partition(e));
    let at = 0;
    return {
      next: () => {
        if (at === members.length) return { done: true, value: undefined };
        const byte = members[at];
        const value = x.kind(e) === Kind.Complement ? x.complement(this.derivative(x.left(e), byte)) : x.intersection(this.#each(e, byte));
        // Only now: what is inside of it may have to be asked again.
        at++;
        return { done: false, value };
      },
    };
  }
}
