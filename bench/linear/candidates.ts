/**
 * Ways to decode several rows, of which a bench finds the quickest.
 *
 * @module
 */
import { workgroupMemory } from "../../kernels/contract.ts";
import type { LinearBindings, LinearConfig, LinearParams } from "../../kernels/linear/linear.ts";
import { type BatchDivision, batchMatvec, batchMatvecBytes, type BatchMatvecConfig } from "../../kernels/linear/batch_matvec.ts";
import { matvec, type MatvecConfig } from "../../kernels/linear/matvec.ts";
import type { CompiledKernel, Device } from "../../kernels/device.ts";

/** `rows`: by matvec, so many sharing a read of the weights. */
export type Candidate = { readonly rows: number } | BatchDivision;

function division(threads: number, passLanes: number, outputsEach: number, itemTeams: number, ...itemsEach: number[]): BatchDivision {
  return { threads, passLanes, outputsEach, itemTeams, itemsEach };
}

/** What is tried where none are given. */
export const CANDIDATES: readonly Candidate[] = [
  { rows: 1 },
  { rows: 4 },
  division(128, 32, 4, 1, 2, 4),
  division(128, 16, 4, 1, 2, 4),
  division(128, 8, 4, 1, 1, 2, 4),
  division(128, 8, 8, 1, 1, 2, 4),
  division(128, 32, 2, 1, 4, 8),
  division(128, 16, 2, 1, 4, 8),
  division(128, 16, 4, 1, 4, 8),
  division(128, 8, 4, 1, 2, 4, 6, 8),
  division(256, 16, 4, 1, 4, 8),
  division(128, 8, 2, 2, 4, 8),
  division(128, 8, 4, 2, 4, 8),
  division(256, 8, 4, 2, 8),
  division(128, 8, 4, 1, 16),
  division(128, 8, 8, 1, 8),
];

/** `rows 4`, or `128 threads, 8 lanes, 4 outputs, 1 × 2/4 items`. */
export function candidateName(candidate: Candidate): string {
  if ("rows" in candidate) return `rows ${candidate.rows}`;
  const { threads, passLanes, outputsEach, itemTeams, itemsEach } = candidate;
  return `${threads},${passLanes},${outputsEach},${itemTeams},${itemsEach.join("/")}`;
}

/** The inverse, of a list divided by semicolons. */
export function readCandidates(text: string): Candidate[] {
  return text.split(";").map((one) => {
    const rows = /^rows (\d+)$/.exec(one.trim());
    if (rows !== null) return { rows: Number(rows[1]) };
    const [threads, passLanes, outputsEach, itemTeams, items] = one.trim().split(",");
    return division(Number(threads), Number(passLanes), Number(outputsEach), Number(itemTeams), ...(items ?? "").split("/").map(Number));
  });
}

/** Whether a candidate is worth a try for so many rows: tiles are not much larger, nor much smaller. Experts have few items each, but outputs enough. */
export function isCandidate(candidate: Candidate, { select }: Pick<LinearConfig, "select">, rows: number): boolean {
  if ("rows" in candidate) return (select.kind === "all") === (candidate.rows > 1);
  const { passLanes, itemTeams, itemsEach } = candidate;
  const most = itemTeams * itemsEach.at(-1)!;
  return select.kind === "expert" ? most <= 8 && passLanes <= 16 : most <= 2 * rows && 8 * most >= rows;
}

/** Compiles one; null if the device has too little workgroup memory. */
export async function compileCandidate(
  device: Device,
  candidate: Candidate,
  config: LinearConfig,
  mostItems: number,
): Promise<CompiledKernel<LinearBindings, LinearParams> | null> {
  if ("rows" in candidate) return await device.compile(matvec, { ...config, itemsAtOnce: candidate.rows } satisfies MatvecConfig);
  const tiles: BatchMatvecConfig = { ...config, division: candidate, mostItems };
  return workgroupMemory(batchMatvecBytes(tiles)) > device.limits.maxWorkgroupBytes ? null : await device.compile(batchMatvec, tiles);
}
