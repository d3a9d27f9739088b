/**
 * What writes the parts of JSON as expressions.
 *
 * @module
 */
import { Automaton } from "../automaton/automaton.ts";
import type { Derivation } from "../automaton/derivation.ts";
import type { Expr, Expressions } from "../automaton/expressions.ts";
import { Patterns } from "../patterns/patterns.ts";
import { Characters } from "../text/characters.ts";
import { JsonText } from "../text/json_text.ts";
import { Numbers } from "../text/numbers.ts";

/** Writes texts of JSON as expressions. */
export class Writers {
  readonly expressions: Expressions;
  readonly derivation: Derivation;
  readonly characters: Characters;
  readonly patterns: Patterns;
  readonly numbers: Numbers;
  readonly json: JsonText;
  /** Texts as they are, without quotes and escapes. */
  readonly bare: { readonly characters: Characters; readonly patterns: Patterns };
  readonly #automaton: Automaton;

  constructor(expressions: Expressions, derivation: Derivation) {
    this.expressions = expressions;
    this.derivation = derivation;
    this.characters = new Characters(expressions);
    this.patterns = new Patterns(expressions, derivation, this.characters);
    const plain = new Characters(expressions, { escapes: false });
    this.bare = { characters: plain, patterns: new Patterns(expressions, derivation, plain) };
    this.numbers = new Numbers(expressions, derivation);
    this.json = new JsonText(expressions);
    this.#automaton = new Automaton(expressions, derivation);
  }

  /** Whether a text, between quotes, fits. */
  fits(content: Expr, text: string): boolean {
    const bytes = new TextEncoder().encode(JSON.stringify(text).slice(1, -1));
    return this.#automaton.accepts(this.#automaton.run(this.#automaton.stateOf(content), bytes));
  }
}
