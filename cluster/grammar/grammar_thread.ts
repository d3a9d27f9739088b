/**
 * The near side of a thread that holds grammars. It is ended when one takes too long or fails: WebAssembly that has aborted cannot be used any more.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { FromGrammarThread, GrammarVocabulary, ToGrammarThread } from "./messages.ts";

/** A mask that will not come because of something else the thread was at. */
export class ThreadLost extends Error {}

type Question = Extract<ToGrammarThread, { kind: "open" | "accept" }>;

interface Asked {
  resolve(mask: Uint32Array): void;
  reject(error: Error): void;
}

/** One thread, for as long as it lives. */
export class GrammarThread {
  readonly #worker: Worker;
  readonly #deadlineMs: number;
  readonly #onEnd: () => void;
  /** In the order in which the thread answers. */
  readonly #asked: Asked[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ready = false;
  #ended = false;

  /** @param onEnd told when the thread ends by itself, after what it was at has failed */
  constructor(vocabulary: GrammarVocabulary, deadlineMs: number, onEnd: () => void) {
    this.#deadlineMs = deadlineMs;
    this.#onEnd = onEnd;
    this.#worker = new Worker(new URL("./thread.ts", import.meta.url), { type: "module", name: "grammars" });
    this.#worker.onmessage = ({ data }: MessageEvent<FromGrammarThread>) => this.#hear(data);
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(event.message);
    };
    this.tell({ kind: "vocabulary", vocabulary });
  }

  /**
   * Asks for the mask after opening a grammar or taking a token.
   *
   * @throws {LatentmeshError} `invalid_request` if it fails or takes too long
   * @throws {ThreadLost} if something before it does
   */
  ask(question: Question): Promise<Uint32Array> {
    if (this.#ended) return Promise.reject(new ThreadLost());
    const { promise, resolve, reject } = Promise.withResolvers<Uint32Array>();
    this.#asked.push({ resolve, reject });
    this.tell(question);
    if (this.#asked.length === 1) this.#watch();
    return promise;
  }

  /** Says something that has no answer. */
  tell(message: ToGrammarThread): void {
    this.#worker.postMessage(message);
  }

  /** Ends the thread; whatever it was asked is lost. */
  end(): void {
    clearTimeout(this.#timer);
    this.#ended = true;
    this.#worker.terminate();
    for (const { reject } of this.#asked.splice(0)) reject(new ThreadLost("The thread of grammars has ended"));
  }

  #hear(message: FromGrammarThread): void {
    if (this.#ended) return;
    if (message.kind === "failed") return this.#fail(message.message);
    if (message.kind === "ready") this.#ready = true;
    else this.#asked.shift()!.resolve(message.mask);
    this.#watch();
  }

  /** The clock runs for what the thread is at now; loading does not count. */
  #watch(): void {
    clearTimeout(this.#timer);
    if (this.#asked.length === 0 || !this.#ready) return;
    this.#timer = setTimeout(() => this.#fail(`it takes longer than ${this.#deadlineMs} ms`), this.#deadlineMs);
  }

  #fail(problem: string): void {
    if (this.#ended) return;
    this.#asked.shift()?.reject(new LatentmeshError("invalid_request", `Cannot use this grammar: ${problem}`, { param: "response_format" }));
    this.end();
    this.#onEnd();
  }
}
