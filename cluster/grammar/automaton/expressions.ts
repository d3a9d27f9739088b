/**
 * Expressions for sets of texts, over bytes: regular ones with intersection and complement, and rules, which may refer to each other. Equal ones are one and
 * the same number, so that whatever is found out about one is found out once.
 *
 * @module
 */
import { type ByteSet, byteSet, ByteSets } from "./byte_sets.ts";
import { NodeTable } from "./node_table.ts";

/** An expression's number. */
export type Expr = number;

/** No text at all. */
export const NOTHING: Expr = 0;
/** Only the empty text. */
export const EMPTY: Expr = 1;
/** Every text. */
export const ANYTHING: Expr = 2;

/** What an expression is, and what `left` and `right` mean. */
export const Kind = {
  Nothing: 0,
  Empty: 1,
  Anything: 2,
  /** One byte of set `left`. */
  Bytes: 3,
  /** `left`, then `right`. */
  Sequence: 4,
  /** `left` or `right`, which may be such a list again: sorted, without doubles. */
  Union: 5,
  /** Both, as a list in the same way. */
  Intersection: 6,
  /** What `left` is not. */
  Complement: 7,
  /** `left` as often as bounds `right` say. */
  Repeat: 8,
  /** Rule `left`. */
  Rule: 9,
} as const;

/** A part that is written when it is first needed. It never begins with itself, and derives something. */
interface Rule {
  build: (() => Expr) | null;
  body: Expr;
}

/** How often something comes. */
export interface Bounds {
  readonly min: number;
  /** May be Infinity. */
  readonly max: number;
}

/** Nodes that one grammar may have. */
const MOST_NODES = 1 << 20;

/** A grammar that takes more than it may. */
export class TooComplex extends Error {}

/** Makes expressions, simplest form first. */
export class Expressions {
  readonly sets = new ByteSets();
  readonly nodes = new NodeTable();
  readonly #nullable: boolean[] = [];
  readonly #bounds: Bounds[] = [];
  readonly #boundNumbers = new Map<string, number>();
  readonly #rules: Rule[] = [];
  /** One byte each. */
  readonly #single: Expr[] = [];

  constructor() {
    this.#node(Kind.Nothing, 0, 0, false);
    this.#node(Kind.Empty, 0, 0, true);
    this.#node(Kind.Anything, 0, 0, true);
  }

  kind(e: Expr): number {
    return this.nodes.kinds[e];
  }

  left(e: Expr): number {
    return this.nodes.lefts[e];
  }

  right(e: Expr): number {
    return this.nodes.rights[e];
  }

  /** Whether the empty text fits. */
  nullable(e: Expr): boolean {
    return this.#nullable[e];
  }

  bounds(e: Expr): Bounds {
    return this.#bounds[this.right(e)];
  }

  /** One byte of a set. */
  bytes(set: ByteSet): Expr {
    return this.#bytes(this.sets.number(set));
  }

  #bytes(set: number): Expr {
    return this.sets.isEmpty(set) ? NOTHING : this.#node(Kind.Bytes, set, 0, false);
  }

  /** Exactly these bytes. */
  literal(text: string): Expr {
    return this.sequence(Array.from(new TextEncoder().encode(text), (byte) => this.#single[byte] ??= this.bytes(byteSet([byte, byte]))));
  }

  /** One after the other. Nested to the right, what follows is shared by all that leads to it. */
  sequence(parts: readonly Expr[]): Expr {
    if (parts.length === 0) return EMPTY;
    let whole = parts[parts.length - 1];
    for (let i = parts.length - 2; i >= 0; i--) {
      const spine: Expr[] = [];
      let e = parts[i];
      for (; this.kind(e) === Kind.Sequence; e = this.right(e)) spine.push(this.left(e));
      whole = this.#pair(e, whole);
      for (let j = spine.length - 1; j >= 0; j--) whole = this.#pair(spine[j], whole);
    }
    return whole;
  }

  #pair(a: Expr, b: Expr): Expr {
    if (a === NOTHING || b === NOTHING) return NOTHING;
    if (a === EMPTY) return b;
    return b === EMPTY ? a : this.#node(Kind.Sequence, a, b, this.nullable(a) && this.nullable(b));
  }

  /** Any of these. */
  union(parts: readonly Expr[]): Expr {
    const list = this.#elements(Kind.Union, parts);
    if (list.includes(ANYTHING)) return ANYTHING;
    const kept = this.#merged(list, "union").filter((e) => e !== NOTHING);
    const others = kept.some((e) => e !== EMPTY && this.nullable(e));
    return this.#list(Kind.Union, others ? kept.filter((e) => e !== EMPTY) : kept, NOTHING);
  }

  /** What fits all of these. What no text fits is not noticed here: see `Derivation.alive`. */
  intersection(parts: readonly Expr[]): Expr {
    const list = this.#elements(Kind.Intersection, parts);
    if (list.includes(NOTHING)) return NOTHING;
    if (list.includes(EMPTY)) return list.every((e) => this.nullable(e)) ? EMPTY : NOTHING;
    const kept = this.#merged(list, "intersection").filter((e) => e !== ANYTHING);
    return kept.includes(NOTHING) ? NOTHING : this.#list(Kind.Intersection, kept, ANYTHING);
  }

  /** Everything else. */
  complement(e: Expr): Expr {
    if (e === NOTHING) return ANYTHING;
    if (e === ANYTHING) return NOTHING;
    return this.kind(e) === Kind.Complement ? this.left(e) : this.#node(Kind.Complement, e, 0, !this.nullable(e));
  }

  /** `e` from `min` to `max` times; nothing fits if there is no number between them. */
  repeat(e: Expr, min: number, max: number): Expr {
    if (max < min) return NOTHING;
    if (max === 0 || e === EMPTY) return EMPTY;
    if (e === NOTHING) return min === 0 ? EMPTY : NOTHING;
    if (min === 1 && max === 1) return e;
    if (e === ANYTHING) return ANYTHING;
    const key = `${min},${max}`;
    let bounds = this.#boundNumbers.get(key);
    if (bounds === undefined) this.#boundNumbers.set(key, bounds = this.#bounds.push({ min, max }) - 1);
    return this.#node(Kind.Repeat, e, bounds, min === 0 || this.nullable(e));
  }

  /** `e` or nothing. */
  optional(e: Expr): Expr {
    return this.union([EMPTY, e]);
  }

  /**
   * A rule, which may refer to others and to itself, though not before its first byte.
   *
   * @param nullable whether the empty text fits
   * @param build writes it, when it is first needed
   */
  rule(nullable: boolean, build: () => Expr): Expr {
    return this.#node(Kind.Rule, this.#rules.push({ build, body: NOTHING }) - 1, 0, nullable);
  }

  /** What a rule says. */
  bodyOf(e: Expr): Expr {
    const rule = this.#rules[this.left(e)];
    if (rule.build !== null) {
      rule.body = rule.build();
      rule.build = null;
    }
    return rule.body;
  }

  /** The elements of lists of a kind, sorted, without doubles. */
  #elements(kind: number, parts: readonly Expr[]): Expr[] {
    const list: Expr[] = [];
    for (let e of parts) {
      while (this.kind(e) === kind) {
        list.push(this.left(e));
        e = this.right(e);
      }
      list.push(e);
    }
    if (list.length < 2) return list;
    list.sort((a, b) => a - b);
    let kept = 1;
    for (let i = 1; i < list.length; i++) if (list[i] !== list[i - 1]) list[kept++] = list[i];
    list.length = kept;
    return list;
  }

  /** Single bytes together are one set. */
  #merged(list: Expr[], how: "union" | "intersection"): Expr[] {
    const single = list.filter((e) => this.kind(e) === Kind.Bytes);
    if (single.length < 2) return list;
    const set = single.map((e) => this.left(e)).reduce((a, b) => this.sets.combined(a, b, how));
    return [...list.filter((e) => this.kind(e) !== Kind.Bytes), this.#bytes(set)].sort((a, b) => a - b);
  }

  #list(kind: typeof Kind.Union | typeof Kind.Intersection, list: readonly Expr[], none: Expr): Expr {
    if (list.length === 0) return none;
    let whole = list[list.length - 1];
    for (let i = list.length - 2; i >= 0; i--) {
      const nullable = kind === Kind.Union ? this.nullable(list[i]) || this.nullable(whole) : this.nullable(list[i]) && this.nullable(whole);
      whole = this.#node(kind, list[i], whole, nullable);
    }
    return whole;
  }

  #node(kind: number, left: number, right: number, nullable: boolean): Expr {
    return this.nodes.node(kind, left, right, (node) => {
      if (node >= MOST_NODES) throw new TooComplex("it has too many states");
      this.#nullable.push(nullable);
    });
  }
}
