/**
 * Which workers a cluster has and where each runs. Pure: from settings alone.
 *
 * @module
 */
import type { UnitRole } from "../../core/wire/protocol.ts";
import type { HostConfig } from "../config/config.ts";
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

/** All units: decode groups first, which get the first devices; or mixed units alone. */
export function planUnits({ decode, prefill, mixed, cluster }: Pick<Settings, "decode" | "prefill" | "mixed" | "cluster">): UnitPlan[] {
  const places = cluster.hosts.flatMap(placesOf);
  let next = 0;
  const unit = (role: UnitRole, index: number, ranks: number): UnitPlan => {
    const name = `${role}-${index}`;
    return { name, role, slots: Array.from({ length: ranks }, (_, rank) => ({ name: `${name}.${rank}`, rank, ...places[next++ % places.length] })) };
  };
  return [
    ...Array.from({ length: mixed.workers }, (_, i) => unit("mixed", i, mixed.ranks)),
    ...Array.from({ length: decode.groups }, (_, i) => unit("decode", i, decode.scheme.ranks)),
    ...Array.from({ length: prefill.workers }, (_, i) => unit("prefill", i, prefill.ranks)),
  ];
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

function placesOf({ name, gpus, join }: HostConfig): Omit<Slot, "name" | "rank">[] {
  return (gpus ?? [null]).map((gpu) => ({ host: name, remote: join === true, gpu }));
}
