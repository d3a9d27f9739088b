/**
 * What a run of tests says of itself, read from its output as it comes.
 *
 * @module
 */
import { LEFT_OUT } from "./extent.ts";

/** Follows the output of `deno test`. */
export class RunSummary {
  /** Names of tests that were left out, as they are printed. */
  readonly leftOut: string[] = [];
  passed = 0;
  /** A run that does not come to its end has failed. */
  failed = 1;
  /** Tests that have been running for minutes, which Deno says now and then, since one has last ended. */
  readonly slow = new Set<string>();
  /** Lines other than those. */
  lines = 0;
  readonly #rename: (line: string) => string;
  #rest = "";

  /** @param rename what a line is to say instead */
  constructor(rename: (line: string) => string = (line) => line) {
    this.#rename = rename;
  }

  /** @param chunk what comes next, which may end anywhere in a line @returns the lines that end in it */
  push(chunk: string): readonly string[] {
    const parts = (this.#rest + chunk).split("\n");
    this.#rest = parts.pop()!;
    const lines = parts.map(this.#rename);
    for (const line of lines) this.#take(line);
    return lines;
  }

  #take(line: string): void {
    const slow = /^'(.+)' has been running for over/.exec(line);
    if (slow !== null) return void this.slow.add(slow[1]);
    this.lines++;
    this.slow.clear();
    const [name, after] = line.split(`${LEFT_OUT} ... ignored`);
    if (after !== undefined) this.leftOut.push(name.trim().replace(/^\.\//, "").replace(/(:| \.\.\.)$/, ""));
    const counted = /(\d+) passed(?: \((\d+) steps?\))? \| (\d+) failed(?: \((\d+) steps?\))?/.exec(line);
    if (counted === null) return;
    const [passed, passedSteps, failed, failedSteps] = counted.slice(1).map((count) => Number(count ?? 0));
    this.passed = passed + passedSteps;
    this.failed = failed + failedSteps;
  }
}
