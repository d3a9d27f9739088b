/**
 * Progress of long work: a bar on a terminal, a log line every few seconds elsewhere.
 *
 * @module
 */
import { messageOf } from "../../core/errors.ts";
import { formatBytes, log } from "./log.ts";
import { formatSeconds, Rate } from "./rate.ts";

/** Milliseconds between lines where there is no terminal. */
const LINE_INTERVAL = 2000;
/** The longest: nobody reads a line of every two seconds of a download of hours. */
const LONGEST_INTERVAL = 30_000;

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
  const rate = new Rate();
  let display: SingleBar | null = null;
  let latest: readonly [done: number, total: number] | null = null;
  let [started, stopped] = [false, false];
  const show = () => {
    if (display === null || latest === null) return;
    const [done, total] = latest;
    const values = { amounts: amountsOf(rate, done, total, format) };
    if (!started) display.start(total, done, values);
    display.setTotal(total);
    display.update(done, values);
    started = true;
  };
  openBar(label).then((opened) => {
    if (stopped) return;
    display = opened;
    show();
  }).catch((error) => log("warn", `${label}: progress cannot be shown: ${messageOf(error)}`));
  return {
    update(done, total) {
      rate.update(done);
      latest = [done, total];
      show();
    },
    stop() {
      stopped = true;
      display?.stop();
    },
  };
}

type SingleBar = Awaited<ReturnType<typeof openBar>>;

/** The library is loaded where there is a terminal only: most processes have none. */
async function openBar(label: string) {
  const { default: progress } = await import("cli-progress");
  return new progress.SingleBar({
    format: `${label} {bar} {percentage}% {amounts}`,
    // With what is said beside it, it fits a terminal of 80 columns.
    barsize: 20,
    clearOnComplete: true,
    // It is complete when it is stopped: more may turn out to be needed.
    stopOnComplete: false,
    // Whoever leaves meanwhile leaves a terminal that wraps lines as before.
    linewrap: true,
  }, progress.Presets.shades_classic);
}

function lines(label: string, format: Format): Progress {
  let interval = LINE_INTERVAL;
  let next = performance.now() + interval;
  const rate = new Rate();
  return {
    update(done, total) {
      rate.update(done);
      if (performance.now() < next) return;
      interval = Math.min(LONGEST_INTERVAL, interval * 1.2);
      next = performance.now() + interval;
      log("info", `${label}: ${amountsOf(rate, done, total, format)}`);
    },
    stop() {},
  };
}

/** `1.5 GB of 31.4 GB, 85 MB/s, 6 min left` */
export function amountsOf(rate: Rate, done: number, total: number, format: Format): string {
  const { perSecond } = rate;
  const left = rate.secondsLeft(total);
  const speed = perSecond === null ? "" : `, ${speedOf(perSecond, format)}`;
  return `${format(done)} of ${format(total)}${speed}${left === null ? "" : `, ${formatSeconds(left)} left`}`;
}

/** What is less than one in a second is told by the minute, or the hour. */
function speedOf(perSecond: number, format: Format): string {
  for (const [unit, seconds] of [["s", 1], ["min", 60], ["h", 3600]] as const) {
    if (perSecond * seconds >= 1) return `${format(Math.round(perSecond * seconds))}/${unit}`;
  }
  return `${format(0)}/s`;
}
