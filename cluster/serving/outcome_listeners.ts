/**
 * Who is told how requests have ended.
 *
 * @module
 */
import { messageOf } from "../../core/errors.ts";
import { logRecord } from "../logs/log.ts";
import type { RequestOutcome } from "./running_request.ts";

/** Told of a request that has ended. */
export type OutcomeListener = (outcome: RequestOutcome) => void;

/** Listeners, each of which is told of each request once. */
export class OutcomeListeners {
  readonly #listeners = new Set<{ readonly listener: OutcomeListener }>();

  /** @returns what ends it */
  add(listener: OutcomeListener): () => void {
    const entry = { listener };
    this.#listeners.add(entry);
    return () => void this.#listeners.delete(entry);
  }

  /** Tells all of them; the trouble that one has is no other's, nor the request's. */
  tell(outcome: RequestOutcome): void {
    for (const { listener } of [...this.#listeners]) tellOutcome(listener, outcome);
  }
}

/** Tells one, whatever it throws. */
export function tellOutcome(listener: OutcomeListener, outcome: RequestOutcome): void {
  try {
    listener(outcome);
  } catch (error) {
    logRecord("error", "requests  what is told of those that have ended has failed: {problem}", { problem: messageOf(error) });
  }
}
