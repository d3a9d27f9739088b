/**
 * Linear layers of decode steps with several rows: the quickest of many ways to multiply each, for `kernels/linear/choose.ts`.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { parseModelConfig } from "../core/model/config.ts";
import { matrixLayout, type WeightFormat } from "../core/model/packing.ts";
import { configOf, shapeNamed } from "../core/model/synthetic/shapes.ts";
import type { BoundKernel, CompiledKernel, Device } from "../kernels/device.ts";
import { type DecodeWay, decodeWays } from "../kernels/linear/choose.ts";
import type { LinearBindings, LinearParams } from "../kernels/linear/linear.ts";
import { type DeviceChoice, openDevice } from "../kernels/providers.ts";
import { type Candidate, candidateName, candidatesFor, compileCandidate, NEW_FOR, newCandidatesFor, readCandidates } from "./linear/candidates.ts";
import { type BenchLayer, layersOf, type MadeLayer, makeLayer } from "./linear/layers.ts";
import { Stopwatch } from "./roofline/stopwatch.ts";
import { printTable } from "./table.ts";

/** Dispatches that are timed together; fewer of what takes long. */
const TOGETHER = 16;
/** Runs whose median counts. */
const RUNS = 3;

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
      "only-new": { type: "boolean", default: false },
    },
  });
  const { device } = await openDevice(values.device as DeviceChoice, { dawn: Deno.env.get("LATENTMESH_DAWN") });
  const onlyNew = values["only-new"];
  const rows = onlyNew ? NEW_FOR.rows : values.rows.split(",").map(Number);
  const candidates = onlyNew ? newCandidatesFor : values.divisions === undefined ? null : readCandidates(values.divisions);
  const spec = parseModelConfig(configOf(shapeNamed(values.shape)), values.shape);
  const only: readonly string[] | undefined = onlyNew ? NEW_FOR.layers : values.only?.split(",");
  const layers = layersOf(spec).filter(({ name }) => only === undefined || only.includes(name));
  const stopwatch = await Stopwatch.start(device);
  console.log(`${device.kind} (${device.description}): reads ${(stopwatch.bytesPerSecond / 1e9).toFixed(0)} GB/s; ${values.shape}\n`);
  for (const format of (onlyNew ? "bf16" : values.weights).split(",") as WeightFormat[]) {
    const timings: Timing[] = [];
    for (const layer of layers) {
      if (layer.matrices * layer.outputs * matrixLayout(format, layer.columns).rowBytes > device.limits.maxBindingBytes) {
        console.log(`${layer.name} is left out: larger than what this device binds`);
        continue;
      }
      const made = await makeLayer(device, layer, format, rows);
      timings.push(...await timeLayer(device, stopwatch, made, { rows, candidates }));
      made.destroy();
    }
    printAll(format, timings, rows);
    printBest(format, timings, rows);
  }
  stopwatch.stop();
  await device.close();
}

async function timeLayer(
  device: Device,
  stopwatch: Stopwatch,
  made: MadeLayer,
  { rows, candidates }: { readonly rows: readonly number[]; readonly candidates: readonly Candidate[] | typeof newCandidatesFor | null },
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
    const all = [...served, ...(typeof candidates === "function" ? candidates(config, count) : candidatesFor(config, count, candidates))].map(
      (each) => {
        const known = byName.get(candidateName(each));
        if (known === undefined) byName.set(candidateName(each), each);
        return known ?? each;
      },
    );
    return { count, all: new Set(all), served: new Set(served.map(candidateName)) };
  });
  const used = new Set(tried.flatMap(({ all }) => [...all]));
  const compiled = new Map(await Promise.all([...used].map(async (each) => [each, await compileCandidate(device, each, config, most)] as const)));
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

async function timeOne(
  device: Device,
  stopwatch: Stopwatch,
  { layer, config, copies, x, y, routes }: MadeLayer,
  kernel: CompiledKernel<LinearBindings, LinearParams>,
  rows: number,
): Promise<number> {
  const params = { items: rows * layer.active, first_output: 0, part_outputs: config.outputs, first_matrix: 0, matrices: layer.matrices };
  const bound: BoundKernel<LinearParams>[] = copies.map((copy) => kernel.bind({ ...copy, routes: routes.get(rows)!.buffer, x, y }, params));
  const together = copies.length > 1 ? TOGETHER : TOGETHER / 8;
  return await stopwatch.milliseconds((run) => device.run(bound[run % bound.length], params), together, RUNS);
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

function printAll(format: WeightFormat, timings: readonly Timing[], rows: readonly number[]): void {
  console.log(`${format}, microseconds of each layer, * being served`);
  console.log("division: threads, lanes, outputs, teams of items, items");
  console.log("units: parts of the columns, parts of the outputs, tiles of outputs, items, depth, ahead, buffers");
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

/** The arithmetics, of which a model has one; the last is not served: it lacks the time that rounding takes. */
const ARITHMETICS = [
  "f32",
  "units",
  "units of inputs that were rounded before",
  "units of f16 weights where they lie",
  "units of f16 weights where they lie, inputs rounded",
] as const;

function arithmeticOf(candidate: Candidate): typeof ARITHMETICS[number] {
  if ("direct" in candidate) return candidate.rounded ? "units of f16 weights where they lie, inputs rounded" : "units of f16 weights where they lie";
  if (!("units" in candidate)) return "f32";
  return candidate.rounded ? "units of inputs that were rounded before" : "units";
}

function printBest(format: WeightFormat, timings: readonly Timing[], rows: readonly number[]): void {
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
