/**
 * How workers of one host share its processors.
 *
 * @module
 */
import type { DeviceTuning } from "../../core/device_kind.ts";

/** Each of so many workers gets its share of the cores where nobody says how many threads it has: those that wait for each other would take turns otherwise. */
export function sharedOut(tuning: DeviceTuning, workers: number, cores: number = navigator.hardwareConcurrency): DeviceTuning {
  return { ...tuning, threads: tuning.threads ?? Math.max(1, Math.floor(cores / Math.max(1, workers))) };
}

/** What to do where the threads that somebody asked for take turns; undefined where each has a processor. @param workers of this host that wait for each other */
export function threadAdvice(threads: number | undefined, workers: number, cores: number = navigator.hardwareConcurrency): string | undefined {
  if (threads === undefined || threads === 1 || threads * workers <= cores) return undefined;
  const have = workers === 1 ? `${threads} threads take` : `${workers} workers with ${threads} threads each take`;
  return `${have} turns on ${cores} processor${cores === 1 ? "" : "s"}, and every step waits for all of them: leave threads out, or have fewer`;
}
