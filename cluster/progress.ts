/**
 * Progress of long work: a bar on a terminal, a log line every few seconds elsewhere.
 *
 * @module
 */
import progress from "cli-progress";
import { formatBytes, log } from "./log.ts";

/** Milliseconds between lines where there is no terminal. */
const LINE_INTERVAL = 2000;

/** Shows how much of something measured in bytes is done. */
export interface ByteProgress {
  update(done: number, total: number): void;
  /** Ends the display; call it on failure too. */
  stop(): void;
}

/** @param label what is being done, such as "loading" */
export function byteProgress(label: string): ByteProgress {
  return Deno.stderr.isTerminal() ? bar(label) : lines(label);
}

function bar(label: string): ByteProgress {
  const display = new progress.SingleBar({
    format: `${label} {bar} {percentage}% {done} of {all}, {eta_formatted} left`,
    hideCursor: true,
    clearOnComplete: true,
    stopOnComplete: true,
  }, progress.Presets.shades_classic);
  let started = false;
  return {
    update(done, total) {
      const values = { done: formatBytes(done), all: formatBytes(total) };
      if (!started) display.start(total, done, values);
      else display.update(done, values);
      started = true;
    },
    stop: () => display.stop(),
  };
}

function lines(label: string): ByteProgress {
  let next = performance.now() + LINE_INTERVAL;
  return {
    update(done, total) {
      if (performance.now() < next) return;
      next = performance.now() + LINE_INTERVAL;
      log("info", `${label}: ${formatBytes(done)} of ${formatBytes(total)}`);
    },
    stop() {},
  };
}
