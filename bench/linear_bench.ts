/**
 * Linear layers of decode steps with several rows: the quickest of many ways to multiply each, for `kernels/linear/choose.ts`.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { bitsPerWeight } from "../core/model/packing.ts";
import { parseModelConfig } from "../core/model/config.ts";
import { configOf, shapeNamed } from "../core/model/synthetic/shapes.ts";
import type { Device } from "../kernels/device/device.ts";
import { type DecodeWay, decodeWays } from "../kernels/linear/choose.ts";
import { UNITS_TABLES } from "../kernels/linear/units_table.ts";
import { openBenchDevice } from "./support/device.ts";
import { storedLayout, type StoredName, storedNames } from "./support/stored.ts";
import { type Candidate, candidateName, candidatesFor, compileCandidate, readCandidates } from "./linear/candidates.ts";
import { type BenchLayer, bindable, layersOf, type MadeLayer, makeLayer } from "./linear/layers.ts";
import { timeOne } from "./linear/timing.ts";
import { timeUnits } from "./linear/tune.ts";
import { chooseUnits, TABLE_URL, withTable } from "./linear/units_table.ts";
import { Stopwatch } from "./roofline/stopwatch.ts";
import { printTable } from "./table.ts";

/** How long one candidate took for so many rows of a layer. */
interface Timing {
  readonly layer: BenchLayer;
  readonly rows: number;
  readonly candidate: Candidate;
  readonly ms: number;
  readonly bytes: number;
  readonly flop: number;
  /** Whether it is the one that is served, in either arithmetic. */
  readonly served: boolean;
}

/** Runs the bench. */
export async function linearBench(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      device: { type: "string", default: "dawn" },
      shape: { type: "string", default: "v2-lite" },
      weights: { type: "string", default: "bf16,q4" },
      rows: { type: "string", default: "1,2,4,8,16,32,64" },
      only: { type: "string" },
      divisions: { type: "string" },
      write: { type: "boolean", default: false },
    },
  });
  const device = await openBenchDevice(values.device);
  const rows = values.rows.split(",").map(Number);
  const candidates = values.divisions === undefined ? null : readCandidates(values.divisions);
  const spec = parseModelConfig(configOf(shapeNamed(values.shape)), values.shape);
  const only: readonly string[] | undefined = values.only?.split(",");
  const formats = storedNames(values.weights);
  const layers = layersOf(spec).filter(({ name }) => only === undefined || only.includes(name));
  const stopwatch = await Stopwatch.start(device);
  console.log(`${device.kind} (${device.description}): reads ${(stopwatch.bytesPerSecond / 1e9).toFixed(0)} GB/s; ${values.shape}\n`);
  if (values.write) await writeTable(device, stopwatch, layers, { format: formats[0], shape: values.shape });
  else {for (const format of formats) {
      const timings: Timing[] = [];
      for (const layer of layers.map((layer) => bindable(layer, format, device.limits.maxBindingBytes))) {
        if (layer.matrices * layer.outputs * storedLayout(format, layer.columns).rowBytes > device.limits.maxBindingBytes) {
          console.log(`${layer.name} is left out: larger than what this device binds`);
          continue;
        }
        const made = await makeLayer(device, layer, format, rows);
        timings.push(...await timeLayer(device, stopwatch, made, { rows, candidates }));
        made.destroy();
      }
      printAll(format, timings, rows);
      printBest(format, timings, rows);
    }}
  stopwatch.stop();
  await device.close();
}

/** Measures what is tried on matrix units, and rewrites the table of decode with what is quickest. */
async function writeTable(
  device: Device,
  stopwatch: Stopwatch,
  layers: readonly BenchLayer[],
  { format, shape }: { readonly format: StoredName; readonly shape: string },
): Promise<void> {
  if (!device.features.matrixUnits) throw new TypeError(`Cannot write the table: ${device.description} has no matrix units here`);
  const bits = bitsPerWeight(storedLayout(format, layers[0].columns).format);
  const known = UNITS_TABLES[bits];
  if (known === undefined) throw new TypeError(`Cannot write the table: there is none for weights of ${bits} bits, which matrix units round`);
  const started = performance.now();
  // In a step it runs beside the experts' first layer, in a division of theirs.
  const alone = layers.filter(({ name }) => name !== "shared down");
  const timings = await timeUnits(device, stopwatch, alone, format);
  const table = { ...known, ...chooseUnits(timings) };
  printTable([
    ["kind", "up to", "rows", "division", "all layers of a step, ms"],
    ...timings.map(({ kind, upTo, rows, division, ms }) => {
      const served = table[kind].some(([to, chosen]) => to === upTo && chosen === division);
      return [kind, `${upTo}`, `${rows}`, candidateName({ units: division }), `${ms.toFixed(3)}${served ? " *" : "  "}`];
    }),
  ]);
  await Deno.writeTextFile(
    TABLE_URL,
    withTable(await Deno.readTextFile(TABLE_URL), bits, table, `Measured on ${device.description}: ${shape}, ${format}`),
  );
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  console.log(`\nThe table for weights of ${bits} bits is written, after ${seconds} s. Kinds of layers that were not measured are as they were`);
}

async function timeLayer(
  device: Device,
  stopwatch: Stopwatch,
  made: MadeLayer,
  { rows, candidates }: { readonly rows: readonly number[]; readonly candidates: readonly Candidate[] | null },
): Promise<Timing[]> {
  const { layer, config } = made;
  const most = Math.max(...rows);
  const [inF32, onUnits] = [false, true].map((units) =>
    decodeWays({ ...config, matrices: layer.matrices }, { rows: most, units, workgroupLimit: device.limits.maxWorkgroupBytes })
  );
  const servedFor = (ways: readonly DecodeWay[], count: number): Candidate => {
    const { division, units, itemsAtOnce = 1 } = ways.find(({ upTo }) => count <= upTo)!;
    return units !== undefined ? { units } : division ?? { rows: itemsAtOnce };
  };
  const byName = new Map<string, Candidate>();
  const tried = rows.map((count) => {
    const served = [inF32, onUnits].map((ways) => servedFor(ways, count));
    const all = [...served, ...candidatesFor(config, count, candidates)].map(
      (each) => {
        const known = byName.get(candidateName(each));
        if (known === undefined) byName.set(candidateName(each), each);
        return known ?? each;
      },
    );
    return { count, all: new Set(all), served: new Set(served.map(candidateName)) };
  });
  const how = { config, mostItems: most, gives: layer.gives };
  const used = new Set(tried.flatMap(({ all }) => [...all]));
  const compiled = new Map(await Promise.all([...used].map(async (each) => [each, await compileCandidate(device, each, how)] as const)));
  const timings: Timing[] = [];
  for (const { count, all, served } of tried) {
    for (const candidate of all) {
      const kernel = compiled.get(candidate)!;
      if (kernel === null) continue;
      const ms = await timeOne(device, stopwatch, made, kernel, count);
      timings.push({ layer, rows: count, candidate, ms, ...costOf(made, count), served: served.has(candidateName(candidate)) });
    }
  }
  return timings;
}

/** Chosen weights once, inputs and outputs. */
function costOf({ layer, config: { layout, outputs }, routes }: MadeLayer, rows: number): { readonly bytes: number; readonly flop: number } {
  const { matrices, active, select, columns } = layer;
  const items = rows * active;
  const read = (select.kind === "expert" ? routes.get(rows)!.chosen : matrices) * outputs;
  const inputs = select.kind === "expert" ? items / select.perInput : items;
  return {
    bytes: read * (layout.rowBytes + layout.scaleRowBytes) + (inputs * columns * (layer.input === "gated" ? 2 : 1) + items * outputs) * 4,
    flop: 2 * items * outputs * columns,
  };
}

function printAll(format: StoredName, timings: readonly Timing[], rows: readonly number[]): void {
  console.log(`${format}, microseconds of each layer, * being served`);
  console.log("division: threads, lanes, outputs, teams of items, items");
  console.log("units: parts of the columns, parts of the outputs, tiles of outputs, items, depth, ahead");
  const lines = Map.groupBy(timings, ({ layer, candidate }) => `${layer.name}: ${candidateName(candidate)}`);
  printTable([
    ["", ...rows.map((count) => `${count} rows`)],
    ...[...lines].map(([name, of]) => [
      name,
      ...rows.map((count) => {
        const timing = of.find((each) => each.rows === count);
        return timing === undefined ? "" : `${(timing.ms * 1000).toFixed(1)}${timing.served ? " *" : "  "}`;
      }),
    ]),
  ]);
  console.log();
}

/** The arithmetics, of which a model has one. */
const ARITHMETICS = ["f32", "units"] as const;

function arithmeticOf(candidate: Candidate): typeof ARITHMETICS[number] {
  return "units" in candidate ? "units" : "f32";
}

function printBest(format: StoredName, timings: readonly Timing[], rows: readonly number[]): void {
  console.log(`${format}, the quickest in each arithmetic, and what is served`);
  const layers = [...new Set(timings.map(({ layer }) => layer))];
  const lines: string[][] = [];
  const totals: string[][] = [];
  for (const arithmetic of ARITHMETICS) {
    const cells = layers.map((layer) =>
      rows.map((count) => {
        const all = timings.filter((each) => each.layer === layer && each.rows === count && arithmeticOf(each.candidate) === arithmetic);
        return all.length === 0 ? null : { best: all.reduce((a, b) => (b.ms < a.ms ? b : a)), served: all.find((each) => each.served) ?? null };
      })
    );
    for (const { best, served } of cells.flat().filter((cell) => cell !== null)) {
      lines.push([
        best.layer.name,
        `${best.rows}`,
        candidateName(best.candidate),
        (best.ms * 1000).toFixed(1),
        (best.bytes / best.ms / 1e6).toFixed(0),
        (best.flop / best.ms / 1e9).toFixed(1),
        served === null ? "" : (served.ms * 1000).toFixed(1),
      ]);
    }
    // Sums of all layers, where all were timed.
    const total = (msOf: (cell: NonNullable<typeof cells[number][number]>) => number | undefined) =>
      rows.map((_, i) => {
        const all = cells.map((ofLayer) => ofLayer[i]).map((cell) => (cell === null ? undefined : msOf(cell)));
        return all.some((ms) => ms === undefined) ? "" : all.reduce<number>((sum, ms, l) => sum + ms! * layers[l].count, 0).toFixed(2);
      });
    totals.push([`${arithmetic}, quickest`, ...total(({ best }) => best.ms)], [`${arithmetic}, served`, ...total(({ served }) => served?.ms)]);
  }
  printTable([["layer", "rows", "division", "µs", "GB/s", "TFLOP/s", "served µs"], ...lines]);
  console.log();
  printTable([
    ["all of a step, ms", ...rows.map((count) => `${count} rows`)],
    ...totals.filter((total) => total.slice(1).some((cell) => cell !== "")),
  ]);
  console.log();
}
