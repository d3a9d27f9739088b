/**
 * A grammar, ready to be followed, with the masks that have been needed so far.
 *
 * @module
 */
import { type AnswerGrammar, CALL_NAME, CALL_NUMBER, type CallsGrammar } from "../../core/text/answers/answer_grammar.ts";
import { Automaton, type State } from "./automaton/automaton.ts";
import { byteSet } from "./automaton/byte_sets.ts";
import { Derivation, inTurns } from "./automaton/derivation.ts";
import { type Expr, Expressions, NOTHING, TooComplex } from "./automaton/expressions.ts";
import { compileSchema } from "./schema/schema_compiler.ts";
import { SharedSteps } from "./shared_steps.ts";
import { textUntil } from "./text/free_text.ts";
import { Writers } from "./schema/writers.ts";
import { MaskWalk } from "./tokens/mask_walk.ts";
import type { TokenTables } from "./tokens/token_tables.ts";
import { tokenBytes } from "./tokens/vocabulary.ts";

/** Visits of expressions that compiling all schemas of a grammar, or finding one mask, may take: a second or so. */
const MOST_COMPILE_WORK = 1 << 22;
const MOST_MASK_WORK = 1 << 21;
/** Most digits of {@link CALL_NUMBER}. */
const CALL_NUMBER_LENGTH = 4;
/** Letters and digits of {@link CALL_NAME}. */
const CALL_NAME_LENGTH = 9;
/** What a character of a grammar comes to, with the schemas that it is part of and what is known of them. */
const BYTES_PER_CHARACTER = 64;
/** Line breaks between reasoning and an answer. */
const MOST_LINE_BREAKS = 2;

/** Errors that the parameters of a tool are to blame for. */
const OF_TOOLS = new WeakSet<object>();

/** Whether it is the parameters of a tool that cannot be held to, and not the form of an answer. */
export function isOfTools(error: unknown): boolean {
  return typeof error === "object" && error !== null && OF_TOOLS.has(error);
}

/** Follows tokens through a grammar. */
export class CompiledGrammar {
  readonly start: State;
  readonly automaton: Automaton;
  readonly #tables: TokenTables;
  readonly #walk: MaskWalk;
  readonly #characters: number;
  readonly #masks = new Map<State, Uint32Array<ArrayBuffer>>();
  readonly #walks = new SharedSteps((state: State) => this.#masks.get(state));

  private constructor(automaton: Automaton, start: State, tables: TokenTables, writers: Writers, characters: number) {
    this.automaton = automaton;
    this.start = start;
    this.#tables = tables;
    this.#characters = characters;
    this.#walk = new MaskWalk(automaton, tables, writers.characters.any);
  }

  /** @param characters of the text that it is read from, which is kept beside it @throws {UnsupportedSchema | TooComplex} what cannot be held to */
  static *compile(grammar: AnswerGrammar, tables: TokenTables, characters = 0): Generator<void, CompiledGrammar> {
    const expressions = new Expressions();
    const derivation = new Derivation(expressions);
    const writers = new Writers(expressions, derivation);
    const written = yield* bounded(new GrammarWriter(writers).write(grammar), derivation, MOST_COMPILE_WORK);
    const automaton = new Automaton(expressions, derivation);
    return new CompiledGrammar(automaton, yield* inTurns(() => automaton.stateOf(written)), tables, writers, characters);
  }

  /** Bytes that it takes, roughly. */
  get bytes(): number {
    return this.#characters * BYTES_PER_CHARACTER + this.automaton.bytes + this.#masks.size * this.#tables.words * 4;
  }

  /** The state after a token; DEAD if it does not fit. @throws {TooComplex} */
  *accept(state: State, token: number): Generator<void, State> {
    return yield* inTurns(() => this.automaton.run(state, tokenBytes(this.#tables.vocabulary, token)));
  }

  /** The tokens that may come next, one bit each: [⌈vocabulary / 32⌉]. @throws {TooComplex} */
  mask(state: State): Generator<void, Uint32Array<ArrayBuffer>> {
    return this.#walks.take(state, () => this.#walkMask(state));
  }

  *#walkMask(state: State): Generator<void, Uint32Array<ArrayBuffer>> {
    const mask = yield* bounded(this.#walk.mask(state), this.automaton, MOST_MASK_WORK);
    this.#masks.set(state, mask);
    return mask;
  }
}

/** Does something step by step, unless it takes too much. */
function* bounded<T>(steps: Generator<void, T>, counter: { readonly work: number }, most: number): Generator<void, T> {
  const begun = counter.work;
  while (true) {
    const { done, value } = steps.next();
    if (done) return value;
    if (counter.work - begun > most) throw new TooComplex("it takes too long");
    yield;
  }
}

/** Writes grammars of answers. */
class GrammarWriter {
  readonly #writers: Writers;

  constructor(writers: Writers) {
    this.#writers = writers;
  }

  *write(grammar: AnswerGrammar): Generator<void, Expr> {
    const { expressions: x } = this.#writers;
    switch (grammar.kind) {
      case "json":
        return yield* compileSchema(grammar.schema, this.#writers, { strict: grammar.strict, objectOnly: false });
      case "calls":
        return yield* this.#calls(grammar);
      case "text": {
        const calls = yield* this.#calls(grammar.calls);
        const begun = yield* inTurns(() => this.#after(calls, grammar.marker));
        return textUntil(x, grammar.marker, begun, { mayEnd: true });
      }
      case "either": {
        const form = yield* this.write(grammar.form);
        return x.union([form, yield* this.#calls(grammar.calls)]);
      }
      case "reasoned": {
        const then = yield* this.write(grammar.then);
        const breaks = x.repeat(x.literal("\n"), 0, MOST_LINE_BREAKS);
        return textUntil(x, grammar.marker, x.sequence([breaks, then]), { mayEnd: false });
      }
      default:
        return grammar satisfies never;
    }
  }

  *#calls({ open, calls, separator, close }: CallsGrammar): Generator<void, Expr> {
    const { expressions: x } = this.#writers;
    const schemas: Expr[] = [];
    for (const { tool, schema, strict, keyed } of calls) {
      try {
        schemas.push(yield* compileSchema(schema, this.#writers, { strict, objectOnly: true, keyed }));
      } catch (error) {
        if (error instanceof Error) {
          error.message = `the parameters of "${tool}": ${error.message}`;
          OF_TOOLS.add(error);
        }
        throw error;
      }
    }
    const series: Expr = x.rule(false, () => {
      const more = separator === null ? NOTHING : x.sequence([x.literal(separator), series]);
      const after = x.union([x.literal(close), more]);
      return x.union(calls.map(({ begin, end }, i) => x.sequence([this.#begin(begin), schemas[i], x.literal(end), after])));
    });
    return x.sequence([x.literal(open), series]);
  }

  /** What comes before the arguments of a call. */
  #begin(text: string): Expr {
    const { expressions: x } = this.#writers;
    const digit = x.bytes(byteSet([0x30, 0x39]));
    const letter = x.bytes(byteSet([0x30, 0x39], [0x41, 0x5a], [0x61, 0x7a]));
    const places = new Map([
      [CALL_NUMBER, x.union([x.literal("0"), x.sequence([x.bytes(byteSet([0x31, 0x39])), x.repeat(digit, 0, CALL_NUMBER_LENGTH - 1)])])],
      [CALL_NAME, x.repeat(letter, CALL_NAME_LENGTH, CALL_NAME_LENGTH)],
    ]);
    return x.sequence(text.split(new RegExp(`([${CALL_NUMBER}${CALL_NAME}])`)).map((part) => places.get(part) ?? x.literal(part)));
  }

  /** What may follow a text with which all of `e` begins. */
  #after(e: Expr, text: string): Expr {
    for (const byte of new TextEncoder().encode(text)) e = this.#writers.derivation.derivative(e, byte);
    return e;
  }
}
