/**
 * Grammars of running requests. They are held in a thread, so that finding out what may come next does not hold up anything else.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { orAborted } from "../../core/or_aborted.ts";
import type { FromGrammarThread, ToGrammarThread } from "./messages.ts";
import { type GrammarConstraint, RunningGrammar } from "./running_grammar.ts";
import type { GrammarVocabulary } from "./tokens/vocabulary.ts";
import type { GrammarParams, WrittenGrammar } from "./written_grammar.ts";

/** Grammars that one client may wait for. */
const MOST_WAITING = 256;

/** Who wants a grammar, and for how many answers. */
export interface ConstrainOptions {
  readonly count: number;
  readonly client: string;
  /** Ends the wait for it. */
  readonly signal?: AbortSignal;
}

/** Makes constraints out of grammars. Nothing is loaded before the first. */
export class Grammars implements Disposable {
  readonly #vocabulary: () => Promise<GrammarVocabulary>;
  readonly #running = new Map<number, RunningGrammar>();
  /** Fields of the request that an answer's grammar comes from. */
  readonly #params = new Map<number, GrammarParams>();
  /** How many grammars each client waits for. */
  readonly #waiting = new Map<string, number>();
  #thread: Promise<Worker> | null = null;
  #ended = false;
  #next = 1;

  /** @param vocabulary asked for when the thread begins */
  constructor(vocabulary: () => Promise<GrammarVocabulary>) {
    this.#vocabulary = vocabulary;
  }

  /**
   * A grammar for each of some answers; resolves when it is compiled.
   *
   * @throws {LatentmeshError} `invalid_request` if it cannot be held to: which keyword, and where; `cancelled` by the signal
   */
  async constrain({ json, params }: WrittenGrammar, { count, client, signal }: ConstrainOptions): Promise<GrammarConstraint[]> {
    // A thread that begins after the end would be ended by nobody.
    if (this.#ended) throw shuttingDown();
    using _ = this.#wait(client);
    const thread = await orAborted(this.#thread ??= this.#begin(), signal);
    if (this.#ended) throw shuttingDown();
    const ids = Array.from({ length: count }, () => this.#next++);
    const opened = ids.map((id) => this.#open(id, params, thread));
    tell(thread, { kind: "open", ids, grammar: json, client });
    try {
      for (const { settled } of opened) await orAborted(settled ?? Promise.resolve(), signal);
      return opened;
    } catch (error) {
      for (const one of opened) one[Symbol.dispose]();
      throw error;
    }
  }

  /** Ends the thread; what still waits fails. */
  [Symbol.dispose](): void {
    this.#ended = true;
    this.#end(shuttingDown());
  }

  /** Counts a client's grammars that are not there yet. */
  #wait(client: string): Disposable {
    const waiting = this.#waiting.get(client) ?? 0;
    if (waiting >= MOST_WAITING) {
      throw new LatentmeshError("overloaded", `${waiting} grammars of this client are waited for already`, { retryAfterMs: 1000 });
    }
    this.#waiting.set(client, waiting + 1);
    return {
      [Symbol.dispose]: () => {
        const left = this.#waiting.get(client)! - 1;
        if (left > 0) this.#waiting.set(client, left);
        else this.#waiting.delete(client);
      },
    };
  }

  #open(id: number, params: GrammarParams, thread: Worker): RunningGrammar {
    const running = new RunningGrammar({
      accept: (token) => tell(thread, { kind: "accept", id, token }),
      foresee: (at, tokens) => tell(thread, { kind: "foresee", id, at, tokens }),
      close: () => {
        this.#params.delete(id);
        if (this.#running.delete(id)) tell(thread, { kind: "close", id });
      },
    });
    this.#running.set(id, running);
    this.#params.set(id, params);
    return running;
  }

  async #begin(): Promise<Worker> {
    let vocabulary: GrammarVocabulary;
    try {
      vocabulary = await this.#vocabulary();
    } catch (error) {
      this.#thread = null;
      throw error;
    }
    const thread = new Worker(new URL("./thread.ts", import.meta.url), { type: "module", name: "grammars" });
    thread.onmessage = ({ data }: MessageEvent<FromGrammarThread>) => this.#hear(data);
    thread.onerror = (event) => {
      event.preventDefault();
      this.#end(new LatentmeshError("internal", `The thread of grammars has failed: ${event.message}`));
    };
    tell(thread, { kind: "vocabulary", vocabulary });
    return thread;
  }

  #hear(message: FromGrammarThread): void {
    for (const id of message.ids) {
      const running = this.#running.get(id);
      if (message.kind === "mask") running?.settle(message.at, message.mask);
      else if (message.kind === "foreseen") running?.foreseen(message.at, message.masks);
      else {
        this.#running.delete(id);
        const param = message.reason === "invalid_request" ? this.#params.get(id)?.[message.ofTools ? "tools" : "form"] : undefined;
        running?.fail(new LatentmeshError(message.reason, `Cannot hold an answer to this: ${message.message}`, { param }));
      }
    }
  }

  #end(error: LatentmeshError): void {
    void this.#thread?.then((thread) => thread.terminate(), () => {});
    this.#thread = null;
    for (const running of this.#running.values()) running.fail(error);
    this.#running.clear();
    this.#params.clear();
  }
}

function tell(thread: Worker, message: ToGrammarThread): void {
  thread.postMessage(message);
}

function shuttingDown(): LatentmeshError {
  return new LatentmeshError("capacity", "The server is stopping");
}
