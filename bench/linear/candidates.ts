/**
 * Ways to decode several rows, of which a bench finds the quickest.
 *
 * @module
 */
import { workgroupMemory } from "../../kernels/contract.ts";
import type { LinearBindings, LinearConfig, LinearParams } from "../../kernels/linear/linear.ts";
import { type BatchDivision, batchMatvec, batchMatvecBytes, type BatchMatvecConfig } from "../../kernels/linear/batch_matvec.ts";
import { batchUnits, type BatchUnitsConfig, fitsBatchUnits, type UnitsDivision } from "../../kernels/linear/batch_units.ts";
import { matvec, type MatvecConfig } from "../../kernels/linear/matvec.ts";
import type { Select } from "../../kernels/linear/select.ts";
import type { CompiledKernel, Device } from "../../kernels/device.ts";

/** `rows`: by matvec, so many sharing a read of the weights; `units`: on matrix units, of inputs that were `rounded` before if so; otherwise tiles in f32. */
export type Candidate = { readonly rows: number } | { readonly units: UnitsDivision; readonly rounded?: boolean } | BatchDivision;

function division(threads: number, passLanes: number, outputsEach: number, itemTeams: number, ...itemsEach: number[]): BatchDivision {
  return { threads, passLanes, outputsEach, itemTeams, itemsEach };
}

function units(columnParts: number, outputParts: number, outputTiles: number, items: number, depth: number, ahead: number, buffers: 1 | 2 = 1) {
  return { units: { columnParts, outputParts, outputTiles, items, depth, ahead, buffers } };
}

function rounded(candidate: { readonly units: UnitsDivision }): Candidate {
  return { ...candidate, rounded: true };
}

/** Numbers of rows for which a candidate is tried; what matrix units take depends little on how many of 16 items there are. */
type Tried = readonly [rows: readonly number[], candidates: readonly Candidate[]];

/** What is tried where none are given, beside what is served. */
const TRIED: Readonly<Record<Select["kind"], readonly Tried[]>> = {
  all: [
    [[1, 2, 4, 8], [{ rows: 4 }]],
    [[1, 16], [
      units(4, 1, 1, 16, 128, 2),
      units(4, 1, 1, 16, 256, 1),
      units(4, 1, 2, 16, 64, 2),
      units(4, 1, 2, 16, 64, 4),
      units(4, 1, 2, 16, 128, 1),
      units(4, 1, 2, 16, 128, 2),
      units(4, 1, 4, 16, 64, 1),
      units(4, 1, 4, 16, 64, 2),
      units(4, 1, 8, 16, 64, 1),
      rounded(units(4, 1, 1, 16, 256, 1)),
      rounded(units(4, 1, 2, 16, 128, 2)),
      rounded(units(4, 1, 4, 16, 64, 2)),
      units(8, 1, 1, 16, 256, 1),
      units(8, 1, 1, 16, 128, 2),
      units(8, 1, 2, 16, 128, 2),
      units(2, 2, 2, 16, 64, 2),
    ]],
    [[32, 64], [
      units(4, 1, 1, 32, 128, 1),
      units(4, 1, 2, 32, 64, 2),
      units(4, 1, 4, 32, 64, 1),
      units(8, 1, 1, 32, 128, 1),
      units(8, 1, 2, 32, 128, 1),
    ]],
    [[64], [
      units(4, 1, 1, 64, 64, 1),
      units(4, 1, 2, 64, 64, 1),
      units(4, 2, 2, 64, 64, 1),
      rounded(units(4, 1, 2, 64, 64, 2)),
      rounded(units(4, 2, 2, 64, 64, 1)),
      units(8, 1, 1, 64, 128, 1),
      units(8, 1, 2, 64, 128, 1),
      units(2, 2, 2, 64, 64, 1),
    ]],
  ],
  head: [
    [[1, 16], [
      units(4, 1, 1, 16, 128, 1),
      units(4, 1, 1, 16, 128, 2),
      units(4, 1, 1, 16, 256, 1),
      units(4, 1, 2, 16, 64, 2),
      units(4, 1, 2, 16, 128, 2),
      units(8, 1, 1, 16, 256, 1),
      rounded(units(4, 1, 1, 16, 256, 1)),
    ]],
    [[32, 64], [units(4, 1, 1, 32, 128, 1), units(4, 1, 2, 32, 64, 2)]],
    [[64], [units(4, 1, 1, 64, 64, 1), units(4, 1, 2, 64, 64, 1), units(8, 1, 1, 64, 128, 1)]],
  ],
  expert: [
    [[1, 2, 4], [{ rows: 1 }]],
    [[1, 4, 16, 64], [
      units(4, 1, 2, 16, 64, 2),
      units(4, 1, 2, 16, 64, 4),
      units(4, 1, 2, 16, 128, 1),
      units(4, 1, 2, 16, 128, 2),
      units(4, 1, 4, 16, 64, 1),
      units(4, 1, 4, 16, 64, 2),
      units(4, 1, 4, 16, 64, 4),
      rounded(units(4, 1, 2, 16, 128, 2)),
      rounded(units(4, 1, 4, 16, 64, 2)),
      rounded(units(4, 1, 4, 16, 64, 4)),
      rounded(units(4, 1, 8, 16, 64, 1)),
      units(4, 1, 4, 16, 64, 2, 2),
      units(4, 1, 8, 16, 64, 1),
      units(8, 1, 2, 16, 128, 2),
      units(2, 2, 2, 16, 64, 2),
      units(1, 4, 1, 16, 64, 2),
    ]],
  ],
};

/** `rows 4`; `threads,lanes,outputs,teams of items,items/items`; `units parts of columns,parts of outputs,tiles of outputs,items,depth,ahead,buffers rounded`. */
export function candidateName(candidate: Candidate): string {
  if ("rows" in candidate) return `rows ${candidate.rows}`;
  if ("units" in candidate) {
    const { columnParts, outputParts, outputTiles, items, depth, ahead, buffers } = candidate.units;
    return `units ${[columnParts, outputParts, outputTiles, items, depth, ahead, buffers]}${candidate.rounded ? " rounded" : ""}`;
  }
  const { threads, passLanes, outputsEach, itemTeams, itemsEach } = candidate;
  return `${threads},${passLanes},${outputsEach},${itemTeams},${itemsEach.join("/")}`;
}

/** The inverse, of a list divided by semicolons. */
export function readCandidates(text: string): Candidate[] {
  return text.split(";").map((one) => {
    const [, how, numbers] = /^\s*(rows |units |)(.*?)\s*$/.exec(one)!;
    if (how === "rows ") return { rows: Number(numbers) };
    const [a, b, c, d, ...rest] = numbers.split(",");
    const [first, second, third, fourth] = [a, b, c, d].map(Number);
    if (how === "units ") {
      const candidate = units(first, second, third, fourth, Number(rest[0]), Number(rest[1]), rest[2]?.startsWith("2") ? 2 : 1);
      return numbers.endsWith("rounded") ? rounded(candidate) : candidate;
    }
    return division(first, second, third, fourth, ...(rest[0] ?? "").split("/").map(Number));
  });
}

/** Those that are worth a try for so many rows. @param given instead of the usual ones */
export function candidatesFor({ select }: Pick<LinearConfig, "select">, rows: number, given: readonly Candidate[] | null): readonly Candidate[] {
  return given ?? TRIED[select.kind].flatMap(([at, candidates]) => (at.includes(rows) ? candidates : []));
}

/** Compiles one; null if the device cannot do it. */
export async function compileCandidate(
  device: Device,
  candidate: Candidate,
  config: LinearConfig,
  mostItems: number,
): Promise<CompiledKernel<LinearBindings, LinearParams> | null> {
  if ("rows" in candidate) return await device.compile(matvec, { ...config, itemsAtOnce: candidate.rows } satisfies MatvecConfig);
  if ("units" in candidate) {
    const tiles: BatchUnitsConfig = { ...config, ...(candidate.rounded ? { input: "rounded" } : {}), division: candidate.units, mostItems };
    return device.features.matrixUnits && fitsBatchUnits(tiles, device.limits.maxWorkgroupBytes) ? await device.compile(batchUnits, tiles) : null;
  }
  const tiles: BatchMatvecConfig = { ...config, division: candidate, mostItems };
  return workgroupMemory(batchMatvecBytes(tiles)) > device.limits.maxWorkgroupBytes ? null : await device.compile(batchMatvec, tiles);
}
