/**
 * One pattern as an expression.
 *
 * @module
 */
import type { Derivation } from "../automaton/derivation.ts";
import { EMPTY, type Expr, type Expressions, NOTHING } from "../automaton/expressions.ts";
import type { Characters } from "../text/characters.ts";
import { contains, type PatternTree, UnsupportedPattern, width } from "./pattern_tree.ts";

/** Times that a part which looks ahead may be written out. */
const MOST_WRITTEN_OUT = 64;
/** Parts that all of a pattern may come to when it is written out. */
const MOST_PARTS = 1 << 16;

/** Where a part of a pattern stands, and what comes after it. */
interface Place {
  /** Whether nothing comes before it in the text. */
  readonly first: boolean;
  readonly then: Expr;
}

/** Writes a pattern. */
export class PatternWriter {
  readonly #tree: PatternTree;
  readonly #any: Expr;
  readonly #anyText: Expr;
  readonly #expressions: Expressions;
  readonly #derivation: Derivation;
  readonly #characters: Characters;
  readonly #endlessRules = new Map<PatternTree, Map<Expr, Expr>>();
  #parts = 0;

  /** @param any the characters of texts in which it is looked for */
  constructor(tree: PatternTree, any: Expr, expressions: Expressions, derivation: Derivation, characters: Characters) {
    this.#tree = tree;
    this.#any = any;
    this.#anyText = expressions.repeat(any, 0, Infinity);
    this.#expressions = expressions;
    this.#derivation = derivation;
    this.#characters = characters;
  }

  /** Texts in which it is found somewhere. @throws {UnsupportedPattern} */
  search(): Expr {
    const x = this.#expressions;
    const tree = this.#tree;
    this.#parts = 0;
    const later = this.#write(tree, { first: false, then: this.#anyText });
    if (!contains(tree, "start")) return x.sequence([this.#anyText, later]);
    return x.union([
      this.#write(tree, { first: true, then: this.#anyText }),
      x.sequence([x.repeat(this.#any, 1, Infinity), later]),
    ]);
  }

  #write(tree: PatternTree, place: Place): Expr {
    const x = this.#expressions;
    if (++this.#parts > MOST_PARTS) throw new UnsupportedPattern("it comes to too many parts");
    switch (tree.kind) {
      case "class":
        return x.sequence([this.#characters.of(tree.points), place.then]);
      case "sequence":
        return this.#writeSequence(tree.parts, place);
      case "either":
        return x.union(tree.parts.map((part) => this.#write(part, place)));
      case "repeat":
        return this.#writeRepeat(tree, place);
      case "start":
        return place.first ? place.then : NOTHING;
      case "end":
        return x.nullable(place.then) ? EMPTY : NOTHING;
      case "ahead":
        return this.#derivation.pruned(this.#ahead(tree, place));
      default:
        return tree satisfies never;
    }
  }

  #writeSequence(parts: readonly PatternTree[], { first, then }: Place): Expr {
    const widths = [{ min: 0, max: 0 }];
    for (const part of parts) {
      const [all, own] = [widths[widths.length - 1], width(part)];
      widths.push({ min: all.min + own.min, max: all.max + own.max });
    }
    let whole = then;
    for (let i = parts.length - 1; i >= 0; i--) {
      const before = widths[i];
      if (first && before.min === 0 && before.max > 0 && contains(parts[i], "start")) {
        throw new UnsupportedPattern(`"^" after what may be empty is not supported`);
      }
      whole = this.#write(parts[i], { first: first && before.max === 0, then: whole });
    }
    return whole;
  }

  #writeRepeat({ part, min, max }: PatternTree & { kind: "repeat" }, { first, then }: Place): Expr {
    const x = this.#expressions;
    if (!contains(part, "start", "end", "ahead")) return x.sequence([x.repeat(this.#write(part, { first: false, then: EMPTY }), min, max), then]);
    if (max === 0) return then;
    const written = Number.isFinite(max) ? max : min;
    if (written > MOST_WRITTEN_OUT || (written > 1 && contains(part, "start"))) {
      throw new UnsupportedPattern("anchors or looking ahead inside of what is repeated so often is not supported");
    }
    let whole = Number.isFinite(max) ? then : this.#endless(part, then);
    for (let i = written; i > 0; i--) {
      const once = this.#write(part, { first: first && i === 1, then: whole });
      whole = i > min ? x.union([then, once]) : once;
    }
    return whole;
  }

  /** What looks ahead and then takes something, again and again. */
  #endless(part: PatternTree, then: Expr): Expr {
    const [ahead, ...rest] = part.kind === "sequence" ? part.parts : [part];
    const taken: PatternTree = { kind: "sequence", parts: rest };
    if (ahead.kind !== "ahead" || contains(taken, "start", "end", "ahead") || width(taken).min === 0 || contains(ahead, "start")) {
      throw new UnsupportedPattern("anchors or looking ahead inside of what is repeated without end is not supported");
    }
    const x = this.#expressions;
    const rules = this.#endlessRules.get(part) ?? new Map<Expr, Expr>();
    this.#endlessRules.set(part, rules);
    const known = rules.get(then);
    if (known !== undefined) return known;
    const again: Expr = x.rule(x.nullable(then), () => {
      const next = this.#write(taken, { first: false, then: again });
      return x.union([then, this.#ahead(ahead, { first: false, then: next })]);
    });
    rules.set(then, again);
    return again;
  }

  #ahead({ part, negated }: PatternTree & { kind: "ahead" }, { first, then }: Place): Expr {
    const x = this.#expressions;
    const seen = this.#write(part, { first, then: this.#anyText });
    return x.intersection([negated ? x.complement(seen) : seen, then]);
  }
}
