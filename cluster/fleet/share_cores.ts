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
