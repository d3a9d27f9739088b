/**
 * Ways to decode several rows, of which a bench finds the quickest.
 *
 * @module
 */
import { matrixLayout } from "../../core/model/packing.ts";
import { workgroupMemory } from "../../kernels/contract.ts";
import type { LinearBindings, LinearConfig, LinearParams } from "../../kernels/linear/linear.ts";
import { type BatchDivision, batchMatvec, batchMatvecBytes, type BatchMatvecConfig } from "../../kernels/linear/batch_matvec.ts";
import { batchUnits, type BatchUnitsConfig, batchUnitsWritable, fitsBatchUnits, type UnitsDivision } from "../../kernels/linear/batch_units.ts";
import { type DirectDivision, directUnits, type DirectUnitsConfig, fitsDirectUnits } from "../../kernels/linear/direct_units.ts";
import { matvec, type MatvecConfig } from "../../kernels/linear/matvec.ts";
import type { Select } from "../../kernels/linear/select.ts";
import type { CompiledKernel, Device } from "../../kernels/device.ts";

/**
 * `rows`: by matvec, so many sharing a read of the weights; `units`: on matrix units, of inputs that were `rounded` before if so; `direct`: likewise, of weights in f16
 * that are loaded from where they lie, at most so many matrices in a round; otherwise tiles in f32.
 */
export type Candidate =
  | { readonly rows: number }
  | { readonly units: UnitsDivision; readonly rounded?: boolean }
  | { readonly direct: DirectDivision; readonly rounded?: boolean }
  | BatchDivision;

function division(threads: number, passLanes: number, outputsEach: number, itemTeams: number, ...itemsEach: number[]): BatchDivision {
  return { threads, passLanes, outputsEach, itemTeams, itemsEach };
}

function units(columnParts: number, outputParts: number, outputTiles: number, items: number, depth: number, ahead: number, buffers: 1 | 2 = 1) {
  return { units: { columnParts, outputParts, outputTiles, items, depth, ahead, buffers } };
}

function rounded(candidate: { readonly units: UnitsDivision } | { readonly direct: DirectDivision }): Candidate {
  return { ...candidate, rounded: true };
}

/** Whose next steps are read together, from what may be written as far as the driver knows; or only the latter. */
function together({ units }: { readonly units: UnitsDivision }, reads: "writable" | "together" = "together"): { readonly units: UnitsDivision } {
  return { units: { ...units, reads } };
}

function direct(
  columnParts: number,
  outputParts: number,
  outputTiles: number,
  items: number,
  round: number,
  weights: "tiles" | "rows" = "tiles",
  inputs: "staged" | "tiles" | "rows" = "staged",
) {
  return { direct: { columnParts, outputParts, outputTiles, items, round, weights, inputs } };
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

const DENSE = [1, 16];
/** What is tried to read faster, of layers of these names. */
const NEW: Readonly<Record<string, readonly Tried[]>> = {
  experts: [
    [[1, 16, 64], [
      rounded(together(units(4, 1, 4, 16, 64, 2))),
      rounded(together(units(1, 4, 1, 16, 64, 2))),
      together(units(1, 4, 1, 16, 64, 2)),
      rounded(direct(1, 4, 1, 16, 8)),
      direct(1, 4, 1, 16, 8),
      rounded(direct(1, 4, 1, 16, 8, "rows")),
      rounded(direct(1, 8, 1, 16, 8)),
      rounded(direct(1, 4, 2, 16, 4)),
      rounded(direct(1, 2, 1, 16, 8)),
    ]],
    [[16, 64], [
      rounded(together(units(4, 1, 4, 16, 64, 1), "writable")),
      rounded(together(units(4, 1, 4, 16, 64, 1))),
      rounded(together(units(4, 1, 2, 16, 128, 2))),
      rounded(together(units(1, 4, 1, 16, 32, 4))),
      rounded(direct(1, 4, 1, 16, 4)),
    ]],
    [[1, 16], [rounded(direct(1, 4, 1, 16, 16))]],
  ],
  dense: [
    [DENSE, [
      rounded(together(units(8, 1, 1, 16, 128, 4))),
      rounded(together(units(8, 1, 1, 16, 256, 2))),
      together(units(8, 1, 1, 16, 256, 2)),
      rounded(direct(4, 1, 1, 16, 11, "tiles", "tiles")),
      rounded(direct(8, 1, 1, 16, 11, "tiles", "tiles")),
      rounded(direct(8, 1, 1, 16, 11, "tiles", "rows")),
      rounded(direct(8, 1, 1, 16, 11, "rows", "rows")),
      rounded(direct(16, 1, 1, 16, 11, "tiles", "tiles")),
      rounded(direct(8, 1, 2, 16, 4, "tiles", "tiles")),
    ]],
    [[64], [
      rounded(together(units(8, 1, 2, 64, 128, 2))),
      rounded(together(units(4, 2, 2, 64, 64, 2))),
      rounded(direct(8, 1, 1, 64, 4, "tiles", "tiles")),
      rounded(direct(8, 1, 2, 64, 2, "tiles", "tiles")),
      rounded(direct(4, 2, 2, 64, 2, "tiles", "tiles")),
      rounded(direct(8, 2, 2, 64, 2, "tiles", "tiles")),
      rounded(direct(2, 4, 1, 64, 2)),
    ]],
  ],
};

/** Layers that {@link newCandidatesFor} has something for, and numbers of rows. */
export const NEW_FOR = { layers: ["experts up", "experts down", "shared down", "queries"], rows: [1, 16, 64] } as const;

/** What is tried to read faster. */
export function newCandidatesFor({ select }: Pick<LinearConfig, "select">, rows: number): readonly Candidate[] {
  return NEW[select.kind === "expert" ? "experts" : "dense"].flatMap(([at, candidates]) => (at.includes(rows) ? candidates : []));
}

/** `rows 4`; `threads,lanes,outputs,teams of items,items/items`; `units parts of columns,parts of outputs,tiles of outputs,items,depth,ahead,buffers rounded`. */
export function candidateName(candidate: Candidate): string {
  if ("rows" in candidate) return `rows ${candidate.rows}`;
  if ("units" in candidate) {
    const { columnParts, outputParts, outputTiles, items, depth, ahead, buffers } = candidate.units;
    const reads = candidate.units.reads === undefined ? "" : ` ${candidate.units.reads}`;
    return `units ${[columnParts, outputParts, outputTiles, items, depth, ahead, buffers]}${reads}${candidate.rounded ? " rounded" : ""}`;
  }
  if ("direct" in candidate) {
    const { columnParts, outputParts, outputTiles, items, round, weights, inputs } = candidate.direct;
    return `direct ${[columnParts, outputParts, outputTiles, items, round]} ${weights}, inputs ${inputs}${candidate.rounded ? " rounded" : ""}`;
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
    const kernel = candidate.units.reads === undefined ? batchUnits : batchUnitsWritable;
    return device.features.matrixUnits && fitsBatchUnits(tiles, device.limits.maxWorkgroupBytes) ? await device.compile(kernel, tiles) : null;
  }
  if ("direct" in candidate) {
    const { direct } = candidate;
    const layout = matrixLayout("f16", config.layout.columns);
    if (layout.rowBytes !== config.layout.rowBytes) return null;
    const most = layout.columns / 16 / direct.columnParts;
    const round = Array.from({ length: direct.round }, (_, i) => direct.round - i).find((round) => most % round === 0)!;
    const tiles: DirectUnitsConfig = {
      ...config,
      layout,
      ...(candidate.rounded ? { input: "rounded" } : {}),
      division: { ...direct, round },
      mostItems,
    };
    return device.features.matrixUnits && fitsDirectUnits(tiles, device.limits.maxWorkgroupBytes) ? await device.compile(directUnits, tiles) : null;
  }
  const tiles: BatchMatvecConfig = { ...config, division: candidate, mostItems };
  return workgroupMemory(batchMatvecBytes(tiles)) > device.limits.maxWorkgroupBytes ? null : await device.compile(batchMatvec, tiles);
}
