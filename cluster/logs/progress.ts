/**
 * Progress of long work: a bar on a terminal, a log line every few seconds elsewhere.
 *
 * @module
 */
import progress from "cli-progress";
import { formatBytes, log } from "./log.ts";

/** Milliseconds between lines where there is no terminal. */
const LINE_INTERVAL = 2000;

/** Shows how much of something is done. */
export interface Progress {
  update(done: number, total: number): void;
  /** Ends the display; call it on failure too. */
  stop(): void;
}

/** Writes an amount for people. */
type Format = (amount: number) => string;

/**
 * @param label what is being done, such as "loading"
 * @param format how amounts are written; bytes by default
 */
export function showProgress(label: string, format: Format = formatBytes): Progress {
  return Deno.stderr.isTerminal() ? bar(label, format) : lines(label, format);
}

function bar(label: string, format: Format): Progress {
  const display = new progress.SingleBar({
    format: `${label} {bar} {percentage}% {done} of {all}, {eta_formatted} left`,
    clearOnComplete: true,
    stopOnComplete: true,
    // Whoever leaves meanwhile leaves a terminal that wraps lines as before.
    linewrap: true,
  }, progress.Presets.shades_classic);
  let started = false;
  return {
    update(done, total) {
      const values = { done: format(done), all: format(total) };
      if (!started) display.start(total, done, values);
      else display.update(done, values);
      started = true;
    },
    stop: () => display.stop(),
  };
}

function lines(label: string, format: Format): Progress {
  let next = performance.now() + LINE_INTERVAL;
  return {
    update(done, total) {
      if (performance.now() < next) return;
      next = performance.now() + LINE_INTERVAL;
      log("info", `${label}: ${format(done)} of ${format(total)}`);
    },
    stop() {},
  };
}
