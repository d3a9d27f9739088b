/**
 * `plan --compare`: ways of using this host's GPUs side by side.
 *
 * @module
 */
import { readModelDescription } from "../../core/model_package.ts";
import { type Alternative, COMPARED_CONTEXT, compareWays } from "../planning/alternatives.ts";
import { type ChoiceServices, chooseUnits, gpusOf } from "../planning/choose_units.ts";
import { formatFigure } from "../logs/figures.ts";
import { formatBytes, printLine } from "../logs/log.ts";
import { READ_BYTES_PER_SECOND, SUM_MS } from "../planning/predict_step.ts";
import type { Settings } from "../config/settings.ts";
import { tableLines } from "./table.ts";

/** What `plan --compare --json` prints of each way. */
export interface ComparedWay extends Omit<Alternative, "settings"> {
  /** Whether `serve` would choose it. */
  readonly chosen: boolean;
}

/** Every way there is, and what `serve` takes and why, in words. */
export interface Comparison {
  readonly ways: readonly ComparedWay[];
  readonly reason: string | null;
  /** Whether something else says which units `serve` takes. */
  readonly unitsGiven: boolean;
}

/** Plans every way there is. @throws {LatentmeshError} why the model cannot be read */
export async function compare(settings: Settings, services: ChoiceServices): Promise<Comparison> {
  using files = services.openFiles(settings.model);
  const ways = await compareWays(
    settings,
    gpusOf(settings, services.gpuCount()),
    await readModelDescription(files, settings.decode.speculate),
    files.name,
    services,
  );
  const { unitsGiven } = settings;
  const { settings: chosen, reason } = await chooseUnits({ ...settings, unitsGiven: false }, services);
  return { ways: ways.map(({ settings, ...way }) => ({ ...way, chosen: sameUnits(settings, chosen) })), reason, unitsGiven };
}

function sameUnits(a: Settings, b: Settings): boolean {
  const unitsOf = ({ decode: { groups, scheme: { ranks, attention } }, mixed, prefill }: Settings) =>
    mixed.workers > 0 ? [mixed.workers, mixed.ranks, attention] : [groups, ranks, attention, prefill.workers, prefill.ranks];
  return unitsOf(a).join() === unitsOf(b).join();
}

/** Prints them. */
export function printComparison({ ways, reason, unitsGiven }: Comparison, json: boolean): void {
  if (json) return printLine(JSON.stringify(ways));
  const ms = (value: number | undefined) => value === undefined ? "?" : `${formatFigure(value, 2)} ms`;
  const header = ["units", "weights", "tokens cached", "a step of one", "full steps", "tokens/s", "asked for with"];
  const rows = ways.map(({ what, weightBytes, tokens, batch, stepMs, tokensPerSecond, flags, chosen, obstacle }) => [
    `${chosen ? "*" : " "} ${what}`,
    weightBytes === 0 ? "?" : formatBytes(weightBytes),
    obstacle !== null ? "none" : tokens === null ? "?" : String(tokens),
    ms(stepMs?.one),
    stepMs === null ? "?" : `${batch}: ${ms(stepMs.full)}`,
    tokensPerSecond === null ? "?" : formatFigure(tokensPerSecond, 0),
    flags,
  ]);
  for (const line of tableLines(header, rows)) printLine(line);
  for (const { what, obstacle } of ways) if (obstacle !== null) printLine(`${what}: does not fit: ${obstacle}`);
  printLine("");
  const where = unitsGiven ? "without what flags or file say of units, " : "";
  if (reason !== null) printLine(`${ways.some(({ chosen }) => chosen) ? "* " : ""}${where}serve takes ${reason}`);
  printLine("tokens cached: what all caches could hold together (--cache-memory)");
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
