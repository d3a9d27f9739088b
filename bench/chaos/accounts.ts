/**
 * What a server holds: files, memory, processes, cache blocks.
 *
 * @module
 */
import type { ClusterStatus } from "../../mod.ts";
import { descendants, runs } from "../support/processes.ts";

/** What it held at some time. */
export interface Holdings {
  readonly files: number;
  /** MB of the coordinator's memory. */
  readonly megabytes: number;
  readonly processes: number;
}

/** Of a process and what it has started. */
export async function holdingsOf(pid: number): Promise<Holdings> {
  const files = (await Array.fromAsync(Deno.readDir(`/proc/${pid}/fd`))).length;
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const alive = await Promise.all((await descendants(pid)).map(runs));
  return { files, megabytes: Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024, processes: alive.filter((one) => one).length };
}

/** What is at the workers, and whether nothing of any request is left there. */
export async function clusterOf(url: string): Promise<ClusterStatus> {
  return await (await fetch(`${url}/cluster`)).json();
}

/** Why something is left of requests; null if nothing is. */
export function leftOver({ units, scheduling }: ClusterStatus): string | null {
  if (scheduling.active > 0) return `${scheduling.active} requests are active`;
  for (const { name, workers, cache, promptCache, up } of units) {
    if (!up) return `${name} is not up`;
    const caches = promptCache === null ? [cache] : [cache, promptCache];
    for (const { available, blocks } of caches) if (available !== blocks) return `${name} has ${available} of ${blocks} blocks free`;
    const all = caches.reduce((sum, { blocks }) => sum + blocks, 0);
    for (const { worker, stats } of workers) {
      if (stats === null) return `${worker} does not answer`;
      if (stats.sequences > 0) return `${worker} holds ${stats.sequences} sequences`;
      if (stats.freeBlocks !== all) return `${worker} has ${stats.freeBlocks} of ${all} blocks free`;
    }
  }
  return null;
}
