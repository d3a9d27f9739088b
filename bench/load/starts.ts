/**
 * A real server, from its start until it is ready.
 *
 * @module
 */
import type { LoadTimes } from "../../core/wire/load_times.ts";
import { startServerWith } from "../support/process.ts";

/** Where a start's time went. */
export interface StartResult {
  readonly processes: number;
  readonly readyMs: number;
  /** Of the process that serves, then of its workers. */
  readonly loads: readonly { readonly name: string; readonly times: LoadTimes }[];
}

/** What `serve` logs about loading, as JSON. */
interface LoadRecord {
  readonly properties?: { readonly process?: string; readonly times?: LoadTimes };
}

/** Starts `serve --single`, or a cluster of two decode ranks and as many prefill workers as are left; stops it when it is ready. */
export async function timeStart(directory: string, device: string, processes: number): Promise<StartResult> {
  const topology = processes === 1 ? ["--single"] : ["--ranks", "2", "--prefill-workers", `${processes - 2}`];
  const started = performance.now();
  const server = await startServerWith(
    { LATENTMESH_LOG: "debug", LATENTMESH_LOG_FORMAT: "json" },
    ...["--model", directory, "--device", device, ...topology],
  );
  const readyMs = performance.now() - started;
  const { log } = await server.stop();
  const records = log.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as LoadRecord);
  const loads = records.flatMap(({ properties: { process, times } = {} }) =>
    process === undefined || times === undefined ? [] : [{ name: process, times }]
  );
  return { processes, readyMs, loads };
}
