/**
 * Grammars of running requests, in two threads. A new grammar is tried in one of them first, where all it can cost is its own request; those that pass run
 * in the other. If even then one fails there, the other requests' grammars are made again from the tokens they have accepted.
 *
 * @module
 */
import type { TokenConstraint } from "../../core/engine.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { GrammarThread, ThreadLost } from "./grammar_thread.ts";
import type { Grammar, GrammarVocabulary } from "./messages.ts";

/** Milliseconds that compiling a grammar, or taking one token, may take. */
const DEADLINE = 600;
/** Characters that a grammar may have. */
const MOST_CHARACTERS = 1 << 16;
/** Grammars that are known to be harmless. */
const MOST_KNOWN = 1024;

/** A constraint that is given back when its request has ended. */
export type GrammarConstraint = TokenConstraint & Disposable;

/** Makes constraints out of grammars. Nothing is loaded before the first. */
export class Grammars implements Disposable {
  readonly #vocabulary: () => GrammarVocabulary;
  readonly #deadlineMs: number;
  readonly #running = new Map<number, RunningGrammar>();
  readonly #known = new Set<string>();
  #trial: GrammarThread | null = null;
  #thread: GrammarThread | null = null;
  #next = 1;

  /** @param vocabulary asked for when a thread begins */
  constructor(vocabulary: () => GrammarVocabulary, options: { readonly deadlineMs?: number } = {}) {
    this.#vocabulary = vocabulary;
    this.#deadlineMs = options.deadlineMs ?? DEADLINE;
  }

  /** A grammar for one answer; resolves when it is compiled. @throws {LatentmeshError} `invalid_request` if it cannot be used or takes too long */
  async constrain(grammar: Grammar): Promise<GrammarConstraint> {
    await this.#try(grammar);
    const id = this.#next++;
    const running = new RunningGrammar(grammar, {
      accept: (token) => this.#ask(running, (thread) => thread.ask({ kind: "accept", id, token })),
      close: () => {
        if (this.#running.delete(id)) this.#thread?.tell({ kind: "close", id });
      },
    });
    this.#running.set(id, running);
    this.#open(id, running);
    try {
      await running.settled;
      return running;
    } catch (error) {
      running[Symbol.dispose]();
      throw error;
    }
  }

  /** Ends both threads; what still waits fails. */
  [Symbol.dispose](): void {
    this.#trial?.end();
    this.#thread?.end();
    for (const running of this.#running.values()) running.fail(new LatentmeshError("cancelled", "The server is shutting down"));
    this.#running.clear();
  }

  async #try(grammar: Grammar): Promise<void> {
    const text = JSON.stringify(grammar);
    if (text.length > MOST_CHARACTERS) {
      throw new LatentmeshError("invalid_request", `A grammar has ${text.length} characters; the most are ${MOST_CHARACTERS}`, {
        param: "response_format",
      });
    }
    while (!this.#known.has(text)) {
      const id = this.#next++;
      const trial = this.#trial ??= new GrammarThread(this.#vocabulary(), this.#deadlineMs, () => this.#trial = null);
      try {
        await trial.ask({ kind: "open", id, grammar, accepted: [] });
        trial.tell({ kind: "close", id });
        this.#known.add(text);
      } catch (error) {
        // Another grammar ended the thread; this one has had no chance yet.
        if (!(error instanceof ThreadLost)) throw error;
        if (this.#trial === trial) throw new LatentmeshError("cancelled", "The server is shutting down");
      }
    }
    const [oldest] = this.#known;
    if (this.#known.size > MOST_KNOWN) this.#known.delete(oldest);
  }

  #open(id: number, running: RunningGrammar): void {
    const { grammar, accepted } = running;
    this.#ask(running, (thread) => thread.ask({ kind: "open", id, grammar, accepted: [...accepted] }));
  }

  #ask(running: RunningGrammar, question: (thread: GrammarThread) => Promise<Uint32Array>): void {
    const thread = this.#thread ??= new GrammarThread(this.#vocabulary(), this.#deadlineMs, () => this.#restart());
    const turn = running.wait();
    question(thread).then((mask) => running.settle(mask, turn), (error) => {
      // With the thread, everything is asked again.
      if (error instanceof ThreadLost) return;
      for (const [id, one] of this.#running) if (one === running) this.#running.delete(id);
      running.fail(error);
    });
  }

  /** What the thread was at has failed; the others go on in another one. */
  #restart(): void {
    this.#thread = null;
    // Its failure is settled first.
    queueMicrotask(() => {
      for (const [id, running] of this.#running) this.#open(id, running);
    });
  }
}

/** One answer's grammar. */
class RunningGrammar implements TokenConstraint, Disposable {
  readonly grammar: Grammar;
  readonly accepted: number[] = [];
  mask: Uint32Array = new Uint32Array(0);
  settled: Promise<void> | null = null;
  #resolvers: PromiseWithResolvers<void> | null = null;
  #turn = 0;
  readonly #actions: { accept(token: number): void; close(): void };

  constructor(grammar: Grammar, actions: { accept(token: number): void; close(): void }) {
    this.grammar = grammar;
    this.#actions = actions;
  }

  accept(token: number): void {
    this.accepted.push(token);
    this.#actions.accept(token);
  }

  [Symbol.dispose](): void {
    this.#actions.close();
  }

  /** A mask is on its way. @returns which one, for {@link settle} */
  wait(): number {
    if (this.#resolvers === null) {
      this.#resolvers = Promise.withResolvers();
      this.#resolvers.promise.catch(() => {});
      this.settled = this.#resolvers.promise;
    }
    return ++this.#turn;
  }

  /** The mask has come; one that is out of date is not it. */
  settle(mask: Uint32Array, turn: number): void {
    if (turn !== this.#turn) return;
    this.mask = mask;
    this.settled = null;
    this.#resolvers?.resolve();
    this.#resolvers = null;
  }

  fail(error: LatentmeshError): void {
    this.#resolvers?.reject(error);
  }
}
