/**
 * Logs of commands, on standard error: standard output belongs to results. As a library nothing is written, unless the program configures LogTape itself.
 *
 * @module
 */
import { configureSync, getLogger, getTextFormatter, jsonLinesFormatter, type LogLevel as Severity, type LogRecord } from "@logtape/logtape";
import { readEnv } from "../../core/env.ts";

const LEVELS = ["debug", "info", "warn", "error", "silent"] as const;

/** Severity of a line. */
export type LogLevel = Exclude<(typeof LEVELS)[number], "silent">;

/** As lines for people have them, of one width. */
const LEVEL_NAMES: Readonly<Record<Severity, string>> = {
  trace: "debug",
  debug: "debug",
  info: "info ",
  warning: "warn ",
  error: "error",
  fatal: "error",
};

const NAMES = { debug: "debug", info: "info", warn: "warning", error: "error" } as const;

const logger = getLogger(["latentmesh"]);

/** Whether a line has been written: from then on, there is a log. */
let begun = false;

/** Writes what is logged to standard error, as `LATENTMESH_LOG` and `LATENTMESH_LOG_FORMAT` say. Called once, by the command line. */
export function configureLogs(): void {
  const env = (name: string) => Deno.env.get(name);
  const least = readEnv("LATENTMESH_LOG", env) ?? "info";
  // Time of day as the machine has it, with milliseconds: a line says when, how serious it is, and what.
  const lines = getTextFormatter({
    timestamp: (ts) => localTime(new Date(ts)),
    level: (level) => LEVEL_NAMES[level],
    format: ({ timestamp, level, message, record }) => record.level === "fatal" && !begun ? `error: ${message}` : `${timestamp} ${level} ${message}`,
    value: String,
  });
  const bare = getTextFormatter({ format: ({ message }) => message, value: String });
  // By itself it would put the values of a message into quotes.
  const json = (record: LogRecord) => jsonLinesFormatter({ ...record, message: [bare(record).trimEnd()] });
  const format = readEnv("LATENTMESH_LOG_FORMAT", env) === "json" ? json : lines;
  const encoder = new TextEncoder();
  const write = (record: LogRecord) => {
    Deno.stderr.writeSync(encoder.encode(format(record)));
    begun = true;
  };
  configureSync({
    sinks: { stderr: write },
    loggers: [
      { category: ["latentmesh"], sinks: ["stderr"], lowestLevel: least === "silent" ? null : NAMES[least] },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: null },
    ],
  });
}

/** `2026-01-31 09:05:07.042`, on the clock of whoever reads it. */
function localTime(time: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const day = [time.getFullYear(), two(time.getMonth() + 1), two(time.getDate())].join("-");
  return `${day} ${[time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":")}.${String(time.getMilliseconds()).padStart(3, "0")}`;
}

/** Logs a line. */
export function log(level: LogLevel, line: string): void {
  // Braces in what others wrote are not ours to fill in.
  logger[level](line.replaceAll("{", "{{").replaceAll("}", "}}"));
}

/** Logs what ends the program. Where nothing has been logged, it is the answer to a command, and looks like those of the command line's parser. */
export function logEnd(line: string): void {
  logger.fatal(line.replaceAll("{", "{{").replaceAll("}", "}}"));
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
  // Rounded first: what becomes 1000 is 1 of the next unit.
  const rounded = Number(bytes.toPrecision(3));
  const power = rounded < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(rounded) / 3));
  return power === 0 ? `${rounded} bytes` : `${(rounded / 1000 ** power).toPrecision(3)} ${units[power]}`;
}
