/**
 * How commands that run on and on are told to stop.
 *
 * @module
 */

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

/** SIGTERM and SIGINT: the first drains, the second cancels, the third ends the process. Dispose to listen no more. */
export function stopOnSignals({ drain, cancel }: StopControllers): Disposable {
  return listen(() => {
    if (cancel.signal.aborted) Deno.exit(1);
    (drain.signal.aborted ? cancel : drain).abort();
  });
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
