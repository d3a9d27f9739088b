/**
 * Puts {@link DawnPolling} between Dawn's binding and the event loop.
 *
 * @module
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { DawnPolling, type Poll } from "./dawn_polling.ts";

const NATIVE = /^function \(\) \{\s*\[native code\]\s*\}$/;

/** Dawn's polls are native functions without a name; a callback of anybody else that is delayed for that loses some microseconds. */
function isPoll(callback: unknown, more: readonly unknown[]): callback is Poll {
  return typeof callback === "function" && more.length === 0 && callback.name === "" && NATIVE.test(Function.prototype.toString.call(callback));
}

/** V8's own, which it gives to contexts that are made while a flag is set; where it gives none, what polls leave behind is let go of as it comes. */
export function garbageCollector(): () => void {
  const { gc } = globalThis as { readonly gc?: unknown };
  if (typeof gc === "function") return () => void gc();
  setFlagsFromString("--expose-gc");
  try {
    const collect: unknown = runInNewContext("globalThis.gc");
    return typeof collect === "function" ? () => void collect() : () => {};
  } finally {
    setFlagsFromString("--no-expose-gc");
  }
}

let installed: DawnPolling | null = null;

/** From now on, polls that `setImmediate` is given are taken when they are due; everything else goes on as before. */
export function paceDawn(): DawnPolling {
  if (installed !== null) return installed;
  const original = globalThis.setImmediate;
  const registry = new FinalizationRegistry<() => void>((call) => call());
  const polling = new DawnPolling({
    now: () => performance.now(),
    nextTurn: (call) => void original(call),
    collect: garbageCollector(),
    whenCollected: (poll, call) => registry.register(poll, call),
  });
  const paced = (callback: (...values: unknown[]) => void, ...values: unknown[]) => {
    if (!isPoll(callback, values)) return original(callback, ...values);
    polling.schedule(callback);
  };
  // What else hangs on it: its promise form.
  globalThis.setImmediate = Object.defineProperties(paced, Object.getOwnPropertyDescriptors(original)) as typeof original;
  return installed = polling;
}
