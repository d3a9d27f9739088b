/**
 * Where the time of loading went.
 *
 * @module
 */

/**
 * A part of loading: headers, hashes and the basis; opening the device; reading weights, converting them, waiting for the device to take them, computing what the
 * checkpoint does not hold; all of the weights; compiling kernels beside that; and the first steps.
 */
export type LoadPart = "files" | "open" | "read" | "convert" | "device" | "compute" | "weights" | "compile" | "warmUp";

/** All of them, in order. */
export const LOAD_PARTS: readonly LoadPart[] = ["files", "open", "read", "convert", "device", "compute", "weights", "compile", "warmUp"];

/** How far loading has come. */
export interface LoadProgress {
  /** Bytes of the checkpoint that have been read for it. */
  readonly loadedBytes: number;
  /** Bytes of the checkpoint that this rank keeps something of. */
  readonly totalBytes: number;
  /** Whether both are of a download, which comes before. */
  readonly downloading?: true;
}

/** Milliseconds of each part. Reading, converting, waiting for the device and computing go on side by side while weights are loaded. */
export type LoadTimes = { readonly [part in LoadPart]?: number };

/** For people: `weights 9.1 s (read 7.0, device 1.2), compile 3.4 s`. */
export function describeLoadTimes(times: LoadTimes): string {
  const seconds = (part: LoadPart) => ((times[part] ?? 0) / 1000).toFixed(1);
  const inside = (["read", "convert", "device", "compute"] as const).map((part) => `${part} ${seconds(part)}`).join(", ");
  const beside = (["files", "open", "compile", "warmUp"] as const).map((part) => `${part} ${seconds(part)} s`).join(", ");
  return `weights ${seconds("weights")} s (${inside}), ${beside}`;
}
