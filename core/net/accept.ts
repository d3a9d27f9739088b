/**
 * An accept loop that survives what accepting can end in.
 *
 * @module
 */

/** The part of a listener that is used. */
export interface Acceptor<C> {
  accept(): Promise<C>;
}

/** Milliseconds before accepting is tried again. */
const PAUSE = 50;

/**
 * Accepts connections until `signal` aborts; whoever aborts it also closes the listener.
 *
 * @param onTrouble told what could not be accepted, such as "Too many open files"; may make room
 */
export async function acceptConnections<C>(
  listener: Acceptor<C>,
  signal: AbortSignal,
  onConnection: (connection: C) => void,
  onTrouble: (error: unknown) => void,
): Promise<void> {
  while (!signal.aborted) {
    try {
      onConnection(await listener.accept());
    } catch (error) {
      if (signal.aborted) return;
      onTrouble(error);
      await pause(signal);
    }
  }
}

function pause(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, PAUSE);
    signal.addEventListener("abort", end);
  });
}
