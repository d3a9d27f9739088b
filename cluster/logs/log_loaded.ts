/**
 * Logs where the time of loading went.
 *
 * @module
 */
import { describeLoadTimes, type LoadTimes } from "../../core/wire/load_times.ts";
import { logRecord } from "./log.ts";

/** Where logs are JSON, times are values. @param process that has loaded */
export function logLoaded(process: string, times: LoadTimes): void {
  logRecord("debug", "loaded  {process}: {description}", { process, description: describeLoadTimes(times), times });
}
