/**
 * Which workers a cluster has and where each runs. Pure: from settings alone.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { UnitRole } from "../../core/wire/protocol.ts";
import { type HostPlace, HostPlaces } from "../config/host_places.ts";
import type { Settings } from "../config/settings.ts";

/** The place of one worker. */
export interface Slot {
  /** Such as `decode-0.1`: rank 1 of group 0. */
  readonly name: string;
  readonly rank: number;
  /** Name of the machine. */
  readonly host: string;
  /** Started there by hand, not here by the coordinator. */
  readonly remote: boolean;
  /** GPU of that machine; null: whichever the driver prefers. */
  readonly gpu: number | null;
}

/** Workers that compute together. */
export interface UnitPlan {
  /** Such as `decode-0`. */
  readonly name: string;
  readonly role: UnitRole;
  readonly slots: readonly Slot[];
}

type Units = Pick<Settings, "decode" | "prefill" | "mixed" | "cluster">;

/** All units: decode groups first, which get the first devices; or mixed units alone. @throws {LatentmeshError} `invalid_config` if they cannot be placed as they are told */
export function planUnits(settings: Units): UnitPlan[] {
  return placed(settings).units;
}

/** Places that were named, in words, and that no worker has: GPUs that are listed, and hosts that join. */
export function idlePlaces(settings: Units): string[] {
  return placed(settings).idle.filter(({ gpu, remote }) => gpu !== null || remote).map(({ host, gpu }) =>
    gpu === null ? `host ${host}` : `host ${host} gpu ${gpu}`
  );
}

/** What to say where there are such places; null: there are none. */
export function idleAdvice(settings: Units): string | null {
  const idle = idlePlaces(settings);
  if (idle.length === 0) return null;
  const more = settings.mixed.workers > 0 ? "mixed.workers (--mixed)" : "prefill.workers (--prefill-workers), decode.groups or decode.ranks";
  return `no worker runs on ${idle.join(", ")}: more ${more} would use ${idle.length === 1 ? "it" : "them"}`;
}

/** Ranks that are told to share memory must be on one host. */
function refuseApart(name: string, slots: readonly Slot[]): void {
  const hosts = [...new Set(slots.map(({ host }) => host))];
  if (hosts.length < 2) return;
  const problem = `ranks of ${name} are on hosts ${
    hosts.join(" and ")
  }, which share no memory; leave it out, or give hosts roles or GPUs so that they are on one`;
  throw new LatentmeshError("invalid_config", `Cannot use decode.exchange: ${problem}`, { param: "decode.exchange" });
}

function placed({ decode, prefill, mixed, cluster }: Units): { readonly units: UnitPlan[]; readonly idle: readonly HostPlace[] } {
  const places = new HostPlaces(cluster.hosts);
  const unit = (role: UnitRole, index: number, ranks: number): UnitPlan => {
    const name = `${role}-${index}`;
    const slot = (rank: number): Slot => {
      const { roles: _, ...place } = places.take(role);
      return { name: `${name}.${rank}`, rank, ...place };
    };
    return { name, role, slots: Array.from({ length: ranks }, (_, rank) => slot(rank)) };
  };
  const units = [
    ...Array.from({ length: mixed.workers }, (_, i) => unit("mixed", i, mixed.ranks)),
    ...Array.from({ length: decode.groups }, (_, i) => unit("decode", i, decode.scheme.ranks)),
    ...Array.from({ length: prefill.workers }, (_, i) => unit("prefill", i, prefill.ranks)),
  ];
  if (decode.exchange === "shared-memory") { for (const { name, slots } of units) refuseApart(name, slots); }
  return { units, idle: places.idle };
}

/**
 * What would take more of this host's GPUs, for people; undefined if nothing would.
 *
 * @param slots of workers that run on GPUs
 */
export function gpuAdvice(slots: readonly Pick<Slot, "remote" | "gpu">[], gpus: number): string | undefined {
  const sharing = slots.filter(({ remote, gpu }) => !remote && gpu === null).length;
  if (sharing < 2 || gpus < 2) return undefined;
  const all = Array.from({ length: gpus }, (_, gpu) => gpu).join(",");
  return `${sharing} workers share one of this host's ${gpus} GPUs; --gpus ${all} gives them all`;
}
