/**
 * Tokenizers and templates of models that are not loaded: each opened when it is asked for, and closed when nobody has asked for a while.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { orAborted } from "../../core/or_aborted.ts";
import { logRecord } from "../logs/log.ts";

/** What is opened for a model. */
export interface OpenText {
  /** Answers a request that has been let in. */
  fetch(request: Request): Response | Promise<Response>;
  close(): Promise<void>;
}

/** Milliseconds without use after which one is closed: opening takes a second, and it takes some hundred megabytes. */
const IDLE = 60_000;

interface Entry {
  readonly opening: Promise<OpenText>;
  users: number;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** Options of {@link ModelTexts}. */
export interface ModelTextsOptions {
  /** @throws {LatentmeshError} */
  open(name: string): Promise<OpenText>;
  /** Milliseconds. */
  readonly idle?: number;
}

/** Texts of several models. */
export class ModelTexts {
  readonly #options: ModelTextsOptions;
  readonly #entries = new Map<string, Entry>();
  /** Those that are being closed. */
  readonly #closing = new Set<Promise<void>>();
  #closed = false;

  constructor(options: ModelTextsOptions) {
    this.#options = options;
  }

  /** One that stays open until it is given back. @throws {LatentmeshError} `cancelled` by the signal, `capacity` when all are closed, or why it cannot be opened */
  async use(name: string, signal?: AbortSignal): Promise<{ readonly fetch: OpenText["fetch"]; release(): void }> {
    if (this.#closed) throw new LatentmeshError("capacity", "The server is stopping");
    const entry = this.#entries.get(name) ?? this.#open(name);
    entry.users++;
    clearTimeout(entry.timer);
    let released = false;
    const release = () => {
      if (released) return;
      released = true;
      // Of what could not be opened, nothing is left.
      if (--entry.users === 0 && this.#entries.get(name) === entry) {
        entry.timer = setTimeout(() => this.#end(name, entry), this.#options.idle ?? IDLE);
      }
    };
    try {
      const text = await orAborted(entry.opening, signal);
      return { fetch: (request) => text.fetch(request), release };
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Closes all, whoever uses them. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const [name, entry] of this.#entries) this.#end(name, entry);
    await Promise.all(this.#closing);
  }

  #open(name: string): Entry {
    const entry: Entry = { opening: this.#options.open(name), users: 0, timer: undefined };
    this.#entries.set(name, entry);
    // The next one who asks tries again.
    entry.opening.catch(() => {
      clearTimeout(entry.timer);
      if (this.#entries.get(name) === entry) this.#entries.delete(name);
    });
    return entry;
  }

  #end(name: string, entry: Entry): void {
    clearTimeout(entry.timer);
    if (this.#entries.get(name) === entry) this.#entries.delete(name);
    const closed: Promise<void> = this.#close(name, entry).finally(() => this.#closing.delete(closed));
    this.#closing.add(closed);
  }

  async #close(model: string, { opening }: Entry): Promise<void> {
    const text = await opening.catch(() => null);
    try {
      await text?.close();
    } catch (error) {
      logRecord("error", "models  the tokenizer of {model} was not closed in order: {problem}", { model, problem: messageOf(error) });
    }
  }
}
