/**
 * Lines for people, on standard error: standard output belongs to results.
 *
 * @module
 */
import { readEnv } from "../core/env.ts";

const LEVELS = ["debug", "info", "warn", "error", "silent"] as const;

/** Severity of a line. */
export type LogLevel = Exclude<(typeof LEVELS)[number], "silent">;

/** Writes a line if `LATENTMESH_LOG` lets it through. */
export function log(level: LogLevel, line: string): void {
  const least = readEnv("LATENTMESH_LOG", (name) => Deno.env.get(name)) ?? "info";
  if (LEVELS.indexOf(level) < LEVELS.indexOf(least)) return;
  Deno.stderr.writeSync(new TextEncoder().encode(line + "\n"));
}

/** Writes a line of a result to standard output. */
export function printLine(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(line + "\n"));
}

/** `1.5 MB`, in powers of 1000. */
export function formatBytes(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const power = bytes === 0 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  return power === 0 ? `${bytes} bytes` : `${(bytes / 1000 ** power).toPrecision(3)} ${units[power]}`;
}
