/**
 * Grammars of running answers, inside the thread.
 *
 * @module
 */
import { messageOf } from "../../core/errors.ts";
import { DEAD, type State } from "./automaton/automaton.ts";
import { TooComplex } from "./automaton/expressions.ts";
import { CompiledGrammar, isOfTools } from "./compiled_grammar.ts";
import { GrammarCache } from "./grammar_cache.ts";
import type { FromGrammarThread, GrammarFailure, ToGrammarThread } from "./messages.ts";
import { UnsupportedSchema } from "./schema/unsupported_schema.ts";
import { SharedSteps } from "./shared_steps.ts";
import type { TokenTables } from "./tokens/token_tables.ts";
import { type Steps, Turns } from "./turns.ts";

/** Bytes that grammars of running answers may take before new ones have to wait. */
const MOST_OPEN_BYTES = 1 << 30;

/** Too much is open already. */
class Overloaded extends Error {}

/** An answer and where its grammar is. */
interface OpenAnswer {
  readonly grammar: CompiledGrammar;
  readonly client: string;
  state: State;
  /** How many tokens it has got. */
  tokens: number;
  /** Those of them that the state does not know yet. */
  readonly behind: number[];
}

type Message<K extends ToGrammarThread["kind"]> = Extract<ToGrammarThread, { kind: K }>;

/** Follows answers. */
export class OpenGrammars {
  readonly #tables: TokenTables;
  readonly #turns: Turns;
  readonly #tell: (message: FromGrammarThread) => void;
  readonly #cache = new GrammarCache();
  readonly #compilations = new SharedSteps((text: string) => this.#cache.get(text));
  readonly #answers = new Map<number, OpenAnswer>();
  /** Answers that have not ended, though their grammar may not be there yet. */
  readonly #wanted = new Set<number>();

  constructor(tables: TokenTables, turns: Turns, tell: (message: FromGrammarThread) => void) {
    this.#tables = tables;
    this.#turns = turns;
    this.#tell = tell;
  }

  open({ ids, grammar, client }: Message<"open">): void {
    for (const id of ids) this.#wanted.add(id);
    this.#turns.add(client, this.#guarded(ids, this.#open(ids, grammar, client)));
  }

  accept({ id, token }: Message<"accept">): void {
    const answer = this.#answers.get(id);
    if (answer === undefined) return;
    answer.tokens++;
    answer.behind.push(token);
    // Turns end in any order: tokens of one answer are taken by one after the other.
    if (answer.behind.length === 1) this.#turns.add(answer.client, this.#guarded([id], this.#follow(id, answer)));
  }

  foresee({ id, at, tokens }: Message<"foresee">): void {
    const answer = this.#answers.get(id);
    if (answer !== undefined) this.#turns.add(answer.client, this.#foresee(id, { at, tokens }, answer));
  }

  close({ id }: Message<"close">): void {
    this.#wanted.delete(id);
    this.#answers.delete(id);
    this.#cache.trim();
  }

  *#open(ids: readonly number[], text: string, client: string): Steps {
    const open = new Set(Array.from(this.#answers.values(), ({ grammar }) => grammar));
    const bytes = Array.from(open).reduce((sum, grammar) => sum + grammar.bytes, 0);
    if (bytes > MOST_OPEN_BYTES) throw new Overloaded("the grammars of running answers take all the memory there is for them");
    const grammar = yield* this.#compilations.take(text, () => this.#compile(text));
    const mask = yield* grammar.mask(grammar.start);
    for (const id of ids) if (this.#wanted.has(id)) this.#answers.set(id, { grammar, client, state: grammar.start, tokens: 0, behind: [] });
    this.#tell({ kind: "mask", ids, at: 0, mask });
  }

  *#compile(text: string): Generator<void, CompiledGrammar> {
    const grammar = yield* CompiledGrammar.compile(JSON.parse(text), this.#tables, text.length);
    this.#cache.set(text, grammar);
    return grammar;
  }

  /** Takes all tokens that have come, and finds out once what may come behind them. */
  *#follow(id: number, answer: OpenAnswer): Steps {
    const { grammar, behind } = answer;
    for (; behind.length > 0; behind.shift()) {
      answer.state = yield* grammar.accept(answer.state, behind[0]);
      if (answer.state === DEAD) throw new Error(`token ${behind[0]} does not fit the grammar`);
    }
    const at = answer.tokens;
    const mask = yield* grammar.mask(answer.state);
    this.#tell({ kind: "mask", ids: [id], at, mask });
  }

  /** What goes wrong here is not known in advance, that is all. */
  *#foresee(id: number, { at, tokens }: Pick<Message<"foresee">, "at" | "tokens">, answer: OpenAnswer): Steps {
    const { grammar } = answer;
    const masks: Uint32Array<ArrayBuffer>[] = [];
    // Where the last token takes long, what comes behind may take as long again.
    const current = () => answer.behind.length === 0 && answer.tokens === at && this.#wanted.has(id);
    try {
      let { state } = answer;
      for (let i = 0; i < tokens.length && current(); i++) {
        state = yield* grammar.accept(state, tokens[i]);
        if (state === DEAD) break;
        masks.push(yield* grammar.mask(state));
      }
    } catch {
      // It is found out, or ends the answer, when the answer gets there.
    }
    this.#tell({ kind: "foreseen", ids: [id], at, masks });
  }

  /** Whatever goes wrong ends these answers, and no others. */
  *#guarded(ids: readonly number[], steps: Steps): Steps {
    try {
      // What nobody waits for any more is left.
      while (ids.some((id) => this.#wanted.has(id)) && !steps.next().done) yield;
    } catch (error) {
      for (const id of ids) this.close({ kind: "close", id });
      this.#tell({ kind: "failed", ids, message: describe(error), reason: reasonOf(error), ofTools: isOfTools(error) });
    }
  }
}

function reasonOf(error: unknown): GrammarFailure {
  if (error instanceof Overloaded) return "overloaded";
  // Only what is nested too deeply takes more stack than there is.
  const refused = error instanceof UnsupportedSchema || error instanceof TooComplex || error instanceof RangeError;
  return refused ? "invalid_request" : "internal";
}

function describe(error: unknown): string {
  if (error instanceof RangeError) return "it is nested too deeply";
  return error instanceof TooComplex ? `it is too complex: ${error.message}` : messageOf(error);
}
