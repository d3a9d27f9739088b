/**
 * The last resort of a server: an error that nobody took care of is logged and counted, and whoever is served goes on being served. It should never be needed;
 * whoever sees one should report it.
 *
 * @module
 */
import { log } from "./log.ts";

/** Errors that nobody took care of. */
export class UncaughtErrors implements Disposable {
  #count = 0;
  readonly #onRejection = (event: PromiseRejectionEvent) => this.#take(event, event.reason);
  readonly #onError = (event: ErrorEvent) => this.#take(event, event.error ?? event.message);

  /** Takes care of them from now on. */
  constructor() {
    addEventListener("unhandledrejection", this.#onRejection);
    addEventListener("error", this.#onError);
  }

  /** How many there were. */
  get count(): number {
    return this.#count;
  }

  [Symbol.dispose](): void {
    removeEventListener("unhandledrejection", this.#onRejection);
    removeEventListener("error", this.#onError);
  }

  #take(event: Event, error: unknown): void {
    event.preventDefault();
    this.#count++;
    log(
      "error",
      `nobody took care of this error, which is a bug of this program: ${error instanceof Error ? error.stack ?? error.message : String(error)}`,
    );
  }
}
