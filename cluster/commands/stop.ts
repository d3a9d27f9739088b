/**
 * How commands that run on and on are told to stop.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { log } from "../logs/log.ts";

/** Resolves when it aborts. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

/** How a command is told to stop. */
export interface StopControllers {
  /** Finish what runs. */
  readonly drain: AbortController;
  /** Cancel what runs. */
  readonly cancel: AbortController;
}

/**
 * SIGTERM and SIGINT before there is anything to drain. The system ends the process itself, whatever it is at, and its guardian ends what it has started; but not
 * the first process of a container, which must do so by itself. Dispose to listen no more.
 */
export function endOnSignals(): Disposable {
  return Deno.pid === 1 ? listen(() => Deno.exit(0)) : { [Symbol.dispose]: () => {} };
}

/** Milliseconds within which a signal that comes again is the same: `deno task` passes on what a terminal has sent to the server, too. */
const SAME = 400;

/** SIGTERM and SIGINT: the first drains, the second cancels, the third ends the process. Dispose to listen no more. */
export function stopOnSignals({ drain, cancel }: StopControllers): Disposable {
  let last = -Infinity;
  return listen(() => {
    const now = performance.now();
    if (now - last < SAME) return;
    last = now;
    if (cancel.signal.aborted) Deno.exit(1);
    if (drain.signal.aborted) cancel.abort(stopping());
    else drain.abort();
  });
}

/** What clients are told whose requests are cancelled because the server ends. */
export function stopping(): LatentmeshError {
  return new LatentmeshError("capacity", "The server is stopping; ask again when it is back, or another one");
}

/**
 * Ends what a command has, one after the other, in order. What cannot be ended in order keeps none of the others from it, and hides no error that the command ends
 * with: that is said.
 */
export async function endAll(...ends: readonly (() => unknown)[]): Promise<void> {
  for (const end of ends) {
    try {
      await end();
    } catch (error) {
      log("warn", `stopping: ${messageOf(error)}`);
    }
  }
}

function listen(onSignal: () => void): Disposable {
  const signals = ["SIGTERM", "SIGINT"] as const;
  for (const signal of signals) Deno.addSignalListener(signal, onSignal);
  return {
    [Symbol.dispose]: () => {
      for (const signal of signals) Deno.removeSignalListener(signal, onSignal);
    },
  };
}
