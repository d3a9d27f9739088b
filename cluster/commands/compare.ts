/**
 * `plan --compare`: ways of using this host's GPUs side by side.
 *
 * @module
 */
import { readModelPackage } from "../../core/model_package.ts";
import { type Alternative, COMPARED_CONTEXT, compareWays } from "../planning/alternatives.ts";
import { bestOf, type ChoiceServices, gpusOf } from "../planning/choose_units.ts";
import { formatBytes, printLine } from "../logs/log.ts";
import { READ_BYTES_PER_SECOND, SUM_MS } from "../planning/predict_step.ts";
import type { Settings } from "../config/settings.ts";
import { tableLines } from "./table.ts";

/** What `plan --compare --json` prints of each way. */
export interface ComparedWay extends Omit<Alternative, "settings"> {
  /** Whether `serve` would choose it. */
  readonly chosen: boolean;
}

/** Plans every way there is. @throws {LatentmeshError} why the model cannot be read */
export async function compare(settings: Settings, services: ChoiceServices): Promise<ComparedWay[]> {
  using files = services.openFiles(settings.model);
  const ways = await compareWays(settings, gpusOf(settings, services.gpuCount()), await readModelPackage(files), files.name, services);
  const best = bestOf(ways);
  return ways.map(({ settings: _, ...way }, i) => ({ ...way, chosen: ways[i] === best }));
}

/** Prints them. */
export function printComparison(ways: readonly ComparedWay[], json: boolean): void {
  if (json) return printLine(JSON.stringify(ways));
  const ms = (value: number | undefined) => value === undefined ? "?" : `${value.toFixed(2)} ms`;
  const header = ["units", "weights", "tokens cached", "a step of one", "full steps", "tokens/s", "asked for with"];
  const rows = ways.map(({ what, weightBytes, tokens, batch, stepMs, tokensPerSecond, flags, chosen, obstacle }) => [
    `${chosen ? "*" : " "} ${what}`,
    weightBytes === 0 ? "?" : formatBytes(weightBytes),
    obstacle !== null ? "none" : tokens === null ? "?" : String(tokens),
    ms(stepMs?.one),
    stepMs === null ? "?" : `${batch}: ${ms(stepMs.full)}`,
    tokensPerSecond === null ? "?" : tokensPerSecond.toFixed(0),
    flags,
  ]);
  for (const line of tableLines(header, rows)) printLine(line);
  for (const { what, obstacle } of ways) if (obstacle !== null) printLine(`${what}: does not fit: ${obstacle}`);
  printLine("");
  printLine("* what serve takes if nothing is said; tokens cached: what all caches could hold together (--cache-memory)");
  for (const line of unknownOf(ways)) printLine(line);
  if (ways.some(({ stepMs }) => stepMs !== null)) {
    printLine(
      `steps and tokens/s are predicted, not measured: ${
        READ_BYTES_PER_SECOND / 1e12
      } TB/s for each card and ${SUM_MS} ms for each sum (H200s of one host), ` +
        `contexts of ${COMPARED_CONTEXT} tokens or the model's`,
    );
  }
}

/** Why there are question marks. */
function unknownOf(ways: readonly ComparedWay[]): string[] {
  const fitting = ways.filter(({ obstacle }) => obstacle === null);
  return [
    ...(fitting.some(({ stepMs }) => stepMs === null)
      ? ["? steps and tokens/s are predicted for GPUs only, and workers would run on this host's processors: no GPU was found, or --device says so"]
      : []),
    ...(fitting.some(({ tokens }) => tokens === null) ? ["? tokens cached cannot be told where nvidia-smi does not say what a GPU has left"] : []),
  ];
}
