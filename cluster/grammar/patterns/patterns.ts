/**
 * Patterns as expressions of what JSON strings hold between their quotes.
 *
 * @module
 */
import type { Derivation } from "../automaton/derivation.ts";
import { type Expr, type Expressions } from "../automaton/expressions.ts";
import type { Characters } from "../text/characters.ts";
import { ALL, ONE_UNIT } from "../text/code_points.ts";
import { parsePattern } from "./parse_pattern.ts";
import { PatternWriter } from "./pattern_writer.ts";

/** A pattern that has been taken apart. */
interface Known {
  /** Whether it is read by code points: otherwise it is decided only for texts of which each character is one unit of UTF-16. */
  readonly unicode: boolean;
  /** Kept, so that a search that has begun is gone on with. */
  readonly writer: PatternWriter;
  found: Expr | null;
}

/** Writes patterns as expressions. */
export class Patterns {
  readonly #expressions: Expressions;
  readonly #derivation: Derivation;
  readonly #characters: Characters;
  readonly #known = new Map<string, Known>();
  /** Any text, between quotes. */
  readonly anyText: Expr;

  constructor(expressions: Expressions, derivation: Derivation, characters: Characters) {
    this.#expressions = expressions;
    this.#derivation = derivation;
    this.#characters = characters;
    this.anyText = expressions.repeat(characters.any, 0, Infinity);
  }

  /** Texts in which a pattern is certainly found somewhere. @throws {UnsupportedPattern} */
  containing(source: string): Expr {
    const known = this.#of(source);
    return known.found ??= this.#derivation.pruned(known.writer.search());
  }

  /** Texts in which a pattern is certainly found nowhere. @throws {UnsupportedPattern} */
  lacking(source: string): Expr {
    const x = this.#expressions;
    const lacking = x.complement(this.containing(source));
    return this.isDecided(source) ? lacking : x.intersection([lacking, x.repeat(this.#characters.of(ONE_UNIT), 0, Infinity)]);
  }

  /** Whether it is known of every text if a pattern is found in it. @throws {UnsupportedPattern} */
  isDecided(source: string): boolean {
    // Not all that can be read can be written.
    this.containing(source);
    return this.#of(source).unicode;
  }

  #of(source: string): Known {
    let known = this.#known.get(source);
    if (known === undefined) {
      const { tree, unicode } = parsePattern(source);
      const any = this.#characters.of(unicode ? ALL : ONE_UNIT);
      known = { unicode, writer: new PatternWriter(tree, any, this.#expressions, this.#derivation, this.#characters), found: null };
      this.#known.set(source, known);
    }
    return known;
  }
}
