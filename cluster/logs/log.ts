/**
 * Logs of commands, on standard error: standard output belongs to results. As a library nothing is written, unless the program configures LogTape itself.
 *
 * @module
 */
import { configureSync, getLogger, getTextFormatter, jsonLinesFormatter, type LogRecord } from "@logtape/logtape";
import { readEnv } from "../../core/env.ts";

const LEVELS = ["debug", "info", "warn", "error", "silent"] as const;

/** Severity of a line. */
export type LogLevel = Exclude<(typeof LEVELS)[number], "silent">;

const NAMES = { debug: "debug", info: "info", warn: "warning", error: "error" } as const;

const logger = getLogger(["latentmesh"]);

/** Writes what is logged to standard error, as `LATENTMESH_LOG` and `LATENTMESH_LOG_FORMAT` say. Called once, by the command line. */
export function configureLogs(): void {
  const env = (name: string) => Deno.env.get(name);
  const least = readEnv("LATENTMESH_LOG", env) ?? "info";
  // Lines for people are the message alone: what else there is, it says.
  const lines = getTextFormatter({ format: ({ message }) => message, value: String });
  // By itself it would put the values of a message into quotes.
  const json = (record: LogRecord) => jsonLinesFormatter({ ...record, message: [lines(record).trimEnd()] });
  const format = readEnv("LATENTMESH_LOG_FORMAT", env) === "json" ? json : lines;
  const encoder = new TextEncoder();
  const write = (record: LogRecord) => void Deno.stderr.writeSync(encoder.encode(format(record)));
  configureSync({
    sinks: { stderr: write },
    loggers: [
      { category: ["latentmesh"], sinks: ["stderr"], lowestLevel: least === "silent" ? null : NAMES[least] },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: null },
    ],
  });
}

/** Logs a line. */
export function log(level: LogLevel, line: string): void {
  // Braces in what others wrote are not ours to fill in.
  logger[level](line.replaceAll("{", "{{").replaceAll("}", "}}"));
}

/** Logs a line with values, which stay values where logs are JSON. @param message names them in braces */
export function logRecord(level: LogLevel, message: string, values: Record<string, unknown>): void {
  logger[level](message, values);
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
