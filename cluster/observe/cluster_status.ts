/**
 * What a cluster consists of and what it is at, for `/cluster`, metrics and the dashboard.
 *
 * @module
 */
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import type { DeviceKind } from "../../core/device_kind.ts";
import type { UnitRole } from "../../core/wire/protocol.ts";
import type { WorkerStats } from "../../core/wire/stats.ts";
import type { SchedulerCounters } from "../scheduler/plan.ts";
import type { Scheduler } from "../scheduler/scheduler.ts";
import { newStepTimes, type StepTimes } from "../../core/step_times.ts";
import type { Incident } from "../fleet/incidents.ts";
import type { Member, Unit, UnitExchange } from "../fleet/unit.ts";

/** What the scheduler has counted, and what it holds now. */
export interface SchedulingStatus extends SchedulerCounters {
  /** Sequences that have not ended. */
  readonly active: number;
  /** Those of them that wait for a place. */
  readonly waiting: number;
  /** Those of them that are decoding. */
  readonly running: number;
}

/** One place of a unit. */
export interface WorkerPlace {
  /** Its rank in the unit. */
  readonly rank: number;
  /** Name of the process that is there; null: nobody. */
  readonly worker: string | null;
  /** Times it was started again. */
  readonly restarts: number;
  /** Name of its machine. */
  readonly host: string;
  /** Its process there. */
  readonly pid: number | null;
  /** GPU of that machine; null: whichever the driver prefers, or none. */
  readonly gpu: number | null;
  /** What its device is; null: nobody is there. */
  readonly kind: DeviceKind | null;
  /** Its device, for people. */
  readonly device: string | null;
  /** Running totals; null where it does not answer. */
  readonly stats: WorkerStats | null;
}

/** A cache, in blocks. */
export interface CacheStatus {
  /** All of them. */
  readonly blocks: number;
  /** Those that can be allocated. */
  readonly available: number;
  /** Those that hold a prefix. */
  readonly published: number;
}

/** One unit. */
export interface UnitStatus {
  /** Such as `decode-0`. */
  readonly name: string;
  /** What it does. */
  readonly role: UnitRole;
  /** Membership: goes up when a worker is replaced. */
  readonly epoch: number;
  /** Whether it can be used now. */
  readonly up: boolean;
  /** How its ranks give each other their parts of sums; null before they were linked. */
  readonly exchange: UnitExchange | null;
  /** Sequences that hold blocks there. */
  readonly sequences: number;
  /** Its cache. */
  readonly cache: CacheStatus;
  /** The one in which a mixed unit computes prompts, of whole latents, where it generates from slices in the other; null: there is none. */
  readonly promptCache: CacheStatus | null;
  /** Its places, by rank. */
  readonly workers: readonly WorkerPlace[];
}

/** Everything. */
export interface ClusterStatus {
  /** What it consists of, in words. */
  readonly summary: string;
  /** What the scheduler is at. */
  readonly scheduling: SchedulingStatus;
  /** Where the time of decode steps went. */
  readonly steps: StepTimes;
  /** Tokens of a block of any cache, on each rank: where ranks share latents by tokens, a block stands for as many on every one. */
  readonly blockTokens: number;
  /** Tokens of a sequence that a block of a unit that generates stands for, on all its ranks together. */
  readonly decodeBlockTokens: number;
  /** All units. */
  readonly units: readonly UnitStatus[];
  /** What went wrong with them lately, and what became of it; the latest first. */
  readonly incidents: readonly Incident[];
}

/** A cluster of nothing. @param summary why */
export function noCluster(summary: string): ClusterStatus {
  return {
    summary,
    scheduling: { promptTokens: 0, cachedTokens: 0, preemptions: 0, replays: 0, drafted: [], accepted: [], active: 0, waiting: 0, running: 0 },
    steps: newStepTimes(),
    blockTokens: BLOCK_TOKENS,
    decodeBlockTokens: BLOCK_TOKENS,
    units: [],
    incidents: [],
  };
}

/** What the scheduler is at. */
export function schedulingStatus(scheduler: Scheduler): SchedulingStatus {
  const running = [...scheduler.decodeGroups.values()].reduce((sum, group) => sum + group.running.size, 0);
  return { ...scheduler.counters, active: scheduler.active, waiting: scheduler.waiting.size, running };
}

/** Milliseconds that a worker has to say how it is. */
const PATIENCE = 1000;

/** What a unit is at; workers that do not answer in time are reported without their totals. */
export async function unitStatus(unit: Unit, scheduler: Scheduler): Promise<UnitStatus> {
  const { name, epoch, plan: { role, slots } } = unit;
  const prefill = scheduler.prefillUnits.get(name);
  const decode = scheduler.decodeGroups.get(name);
  const unitCache = (prefill ?? decode)?.cache;
  const { promptCache } = prefill ?? {};
  return {
    name,
    role,
    epoch,
    up: unit.formed,
    exchange: unit.exchange,
    sequences: new Set([...prefill?.prompts ?? [], ...decode?.placements ?? []]).size,
    cache: cacheStatus(unitCache),
    promptCache: promptCache === undefined || promptCache === unitCache ? null : cacheStatus(promptCache),
    workers: await Promise.all(slots.map(async ({ rank, host, gpu }): Promise<WorkerPlace> => {
      const member = unit.members[rank];
      if (member === null) return { rank, worker: null, restarts: 0, host, pid: null, gpu, kind: null, device: null, stats: null };
      const { worker, hello } = member;
      return {
        rank,
        worker,
        restarts: Number(worker.split("/").at(-1)) - 1 || 0,
        host: hello.host,
        pid: hello.pid,
        gpu,
        kind: hello.device.kind,
        device: hello.device.description,
        stats: await statsOf(member),
      };
    })),
  };
}

function cacheStatus({ blocks = 0, available = 0, published = 0 }: Partial<CacheStatus> = {}): CacheStatus {
  return { blocks, available, published };
}

async function statsOf({ client }: Member): Promise<WorkerStats | null> {
  try {
    return (await client.call("stats", {}, "stats", { deadlineMs: PATIENCE })).reply.stats;
  } catch {
    // Somebody else finds out why.
    return null;
  }
}
