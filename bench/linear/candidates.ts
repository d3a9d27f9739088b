/**
 * Ways to decode several rows, of which a bench finds the quickest.
 *
 * @module
 */
import { workgroupMemory } from "../../kernels/authoring/contract.ts";
import type { CompiledKernel, Device } from "../../kernels/device/device.ts";
import { type BatchDivision, batchMatvec, batchMatvecBytes, type BatchMatvecConfig } from "../../kernels/linear/batch_matvec.ts";
import { batchUnits, type BatchUnitsConfig, fitsBatchUnits, type UnitsDivision, type UnitsOutput } from "../../kernels/linear/batch_units.ts";
import { kindOf, type LayerKind } from "../../kernels/linear/layer_kind.ts";
import type { LinearBindings, LinearConfig, LinearParams } from "../../kernels/linear/linear.ts";
import { matvec, type MatvecConfig } from "../../kernels/linear/matvec.ts";

/** `rows`: by matvec, so many sharing a read of the weights; `units`: on matrix units; otherwise tiles in f32. */
export type Candidate = { readonly rows: number } | { readonly units: UnitsDivision } | BatchDivision;

function division(threads: number, passLanes: number, outputsEach: number, itemTeams: number, ...itemsEach: number[]): BatchDivision {
  return { threads, passLanes, outputsEach, itemTeams, itemsEach };
}

function units(columnParts: number, outputParts: number, outputTiles: number, items: number, depth: number, ahead: number): UnitsDivision {
  return { columnParts, outputParts, outputTiles, items, depth, ahead };
}

/** Divisions that are tried for up to so many rows, and numbers of rows to try them with: what matrix units take depends little on how many of 16 items there are. */
export interface UnitsTried {
  readonly upTo: number;
  readonly rows: readonly number[];
  readonly divisions: readonly UnitsDivision[];
}

const EXPERTS: readonly UnitsTried[] = [{
  upTo: Infinity,
  rows: [1, 16, 64],
  divisions: [
    units(4, 1, 4, 16, 64, 1),
    units(4, 1, 4, 16, 64, 2),
    units(4, 1, 4, 16, 64, 4),
    units(4, 1, 2, 16, 128, 2),
    units(4, 1, 2, 16, 64, 4),
    units(2, 2, 2, 16, 64, 4),
    units(1, 4, 1, 16, 64, 2),
    units(1, 4, 1, 16, 32, 4),
  ],
}];

/** What is tried on matrix units, by kind of layer and ascending number of rows. */
export const UNITS_TRIED: Readonly<Record<LayerKind, readonly UnitsTried[]>> = {
  narrow: [
    {
      upTo: 16,
      rows: [1, 16],
      divisions: [
        units(8, 1, 1, 16, 128, 4),
        units(8, 1, 1, 16, 256, 2),
        units(8, 1, 2, 16, 128, 2),
        units(8, 1, 2, 16, 128, 4),
        units(4, 1, 4, 16, 64, 4),
        units(4, 1, 1, 16, 128, 4),
        units(4, 1, 2, 16, 128, 2),
        units(4, 1, 2, 16, 64, 4),
      ],
    },
    {
      upTo: 32,
      rows: [32],
      divisions: [units(8, 1, 1, 32, 128, 2), units(8, 1, 2, 32, 128, 2), units(4, 1, 1, 32, 128, 2), units(4, 1, 2, 32, 64, 2)],
    },
    {
      upTo: Infinity,
      rows: [64],
      divisions: [
        units(8, 1, 1, 64, 128, 2),
        units(8, 1, 2, 64, 128, 1),
        units(8, 1, 2, 64, 128, 2),
        units(4, 1, 1, 64, 64, 2),
        units(4, 1, 2, 64, 64, 2),
        units(4, 2, 2, 64, 64, 2),
      ],
    },
  ],
  wide: [
    {
      upTo: 16,
      rows: [1, 16],
      divisions: [
        units(4, 1, 4, 16, 64, 1),
        units(4, 1, 4, 16, 64, 2),
        units(4, 1, 2, 16, 128, 2),
        units(4, 1, 2, 16, 64, 4),
        units(4, 1, 8, 16, 64, 1),
      ],
    },
    { upTo: 32, rows: [32], divisions: [units(4, 1, 4, 32, 64, 1), units(4, 1, 4, 32, 64, 2), units(4, 1, 2, 32, 128, 2)] },
    {
      upTo: Infinity,
      rows: [64],
      divisions: [units(4, 1, 2, 64, 64, 2), units(4, 2, 2, 64, 64, 1), units(4, 2, 2, 64, 64, 2), units(4, 2, 4, 64, 64, 1)],
    },
  ],
  head: [
    {
      upTo: 16,
      rows: [1, 16],
      divisions: [
        units(4, 1, 1, 16, 128, 4),
        units(4, 1, 1, 16, 128, 2),
        units(4, 1, 1, 16, 256, 2),
        units(8, 1, 1, 16, 128, 4),
        units(8, 1, 1, 16, 256, 2),
      ],
    },
    { upTo: 32, rows: [32], divisions: [units(4, 1, 1, 32, 128, 2), units(4, 1, 2, 32, 64, 2), units(8, 1, 1, 32, 128, 2)] },
    { upTo: Infinity, rows: [64], divisions: [units(4, 1, 1, 64, 64, 2), units(4, 1, 2, 64, 64, 2), units(8, 1, 1, 64, 128, 2)] },
  ],
  expertUp: EXPERTS,
  expertDown: EXPERTS,
};

/** `rows 4`; `threads,lanes,outputs,teams of items,items/items`; `units parts of columns,parts of outputs,tiles of outputs,items,depth,ahead`. */
export function candidateName(candidate: Candidate): string {
  if ("rows" in candidate) return `rows ${candidate.rows}`;
  if ("units" in candidate) {
    const { columnParts, outputParts, outputTiles, items, depth, ahead } = candidate.units;
    return `units ${[columnParts, outputParts, outputTiles, items, depth, ahead]}`;
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
    if (how === "units ") return { units: units(first, second, third, fourth, Number(rest[0]), Number(rest[1])) };
    return division(first, second, third, fourth, ...(rest[0] ?? "").split("/").map(Number));
  });
}

/** Those that are worth a try for so many rows. @param given instead of the usual ones */
export function candidatesFor(
  config: Pick<LinearConfig, "select" | "outputs">,
  rows: number,
  given: readonly Candidate[] | null,
): readonly Candidate[] {
  if (given !== null) return given;
  const plain = rows > 8 ? [] : [{ rows: config.select.kind === "all" ? 4 : 1 }];
  return [...plain, ...UNITS_TRIED[kindOf(config)].find(({ upTo }) => rows <= upTo)!.divisions.map((units) => ({ units }))];
}

/** Compiles one; null if the device cannot do it. @param gives what it is to give on matrix units */
export async function compileCandidate(
  device: Device,
  candidate: Candidate,
  { config, mostItems, gives }: { readonly config: LinearConfig; readonly mostItems: number; readonly gives: UnitsOutput },
): Promise<CompiledKernel<LinearBindings, LinearParams> | null> {
  if ("rows" in candidate) return await device.compile(matvec, { ...config, itemsAtOnce: candidate.rows } satisfies MatvecConfig);
  if ("units" in candidate) {
    const tiles: BatchUnitsConfig = { ...config, input: "rounded", output: gives, division: candidate.units, mostItems };
    return device.features.matrixUnits && fitsBatchUnits(tiles, device.limits.maxWorkgroupBytes) ? await device.compile(batchUnits, tiles) : null;
  }
  const tiles: BatchMatvecConfig = { ...config, division: candidate, mostItems };
  return workgroupMemory(batchMatvecBytes(tiles)) > device.limits.maxWorkgroupBytes ? null : await device.compile(batchMatvec, tiles);
}
