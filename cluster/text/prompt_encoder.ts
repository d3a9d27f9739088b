/**
 * Text → tokens for requests. A prompt as long as a large model's context takes a second and more, in which nobody else would be served: long texts are tokenised in a
 * thread, which begins with the first of them.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { TextTokenizer } from "../../core/text/tokenizer.ts";
import { Turns } from "../../core/turns.ts";
import type { FromTextThread, ToTextThread } from "./messages.ts";

/** Characters, of all texts of a request together, that are tokenised at once: some milliseconds. */
const SHORT = 8192;

/** Milliseconds that one request's texts may take. Words of a million letters take longest. */
const DEADLINE = 30_000;

/** Options of a {@link PromptEncoder}, for tests. */
export interface PromptEncoderOptions {
  readonly short?: number;
  readonly deadlineMs?: number;
}

/** Tokenises for a server. Dispose to end its thread. */
export class PromptEncoder implements Disposable {
  readonly #tokenizer: TextTokenizer;
  readonly #short: number;
  readonly #deadlineMs: number;
  /** One request after the other. */
  readonly #turns = new Turns();
  #thread: Worker | null = null;

  constructor(tokenizer: TextTokenizer, { short = SHORT, deadlineMs = DEADLINE }: PromptEncoderOptions = {}) {
    this.#tokenizer = tokenizer;
    this.#short = short;
    this.#deadlineMs = deadlineMs;
  }

  /** Tokens of one text. @throws {LatentmeshError} `invalid_request` if it takes too long */
  async encode(text: string, options: { readonly special: boolean }): Promise<number[]> {
    return (await this.encodeAll([text], options))[0];
  }

  /**
   * Tokens of several texts.
   *
   * @param options.special add what the tokenizer puts around a text, such as BOS
   * @throws {LatentmeshError} `invalid_request` if they take too long
   */
  async encodeAll(texts: readonly string[], options: { readonly special: boolean }): Promise<number[][]> {
    if (texts.reduce((sum, { length }) => sum + length, 0) <= this.#short) return texts.map((text) => this.#tokenizer.encode(text, options));
    const tokens = await this.#turns.take(() => this.#ask(texts, options.special));
    return tokens.map((one) => [...one]);
  }

  [Symbol.dispose](): void {
    this.#thread?.terminate();
    this.#thread = null;
  }

  #ask(texts: readonly string[], special: boolean): Promise<FromTextThread> {
    const thread = this.#thread ??= this.#start();
    const { promise, resolve, reject } = Promise.withResolvers<FromTextThread>();
    const fail = (problem: string) => {
      this[Symbol.dispose]();
      reject(new LatentmeshError("invalid_request", `Cannot tokenise this text: ${problem}`, { param: "prompt" }));
    };
    const timer = setTimeout(() => fail(`it takes longer than ${this.#deadlineMs} ms`), this.#deadlineMs);
    thread.onmessage = ({ data }: MessageEvent<FromTextThread>) => resolve(data);
    thread.onerror = (event) => {
      event.preventDefault();
      fail(event.message);
    };
    thread.postMessage({ kind: "encode", texts, special } satisfies ToTextThread);
    return promise.finally(() => clearTimeout(timer));
  }

  #start(): Worker {
    const thread = new Worker(new URL("./thread.ts", import.meta.url), { type: "module", name: "texts" });
    thread.postMessage({ kind: "tokenizer", files: this.#tokenizer.files } satisfies ToTextThread);
    return thread;
  }
}
