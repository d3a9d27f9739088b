/**
 * The places that hosts have for workers, and who gets which.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { UnitRole } from "../../core/wire/protocol.ts";
import type { Config, HostConfig } from "./config_type.ts";

/** This one, where nothing is said about hosts. */
export const LOCAL_HOST: HostConfig = { name: "local" };

/** Where a worker may be. */
export interface HostPlace {
  /** Name of the machine. */
  readonly host: string;
  /** Started there by hand, not here by the coordinator. */
  readonly remote: boolean;
  /** GPU of that machine; null: whichever the driver prefers. */
  readonly gpu: number | null;
  /** What workers there may be for; null: anything. */
  readonly roles: readonly UnitRole[] | null;
}

/** Places, given away in turn. */
export class HostPlaces {
  readonly #places: readonly { readonly place: HostPlace; taken: number }[];

  constructor(hosts: readonly HostConfig[]) {
    this.#places = hosts.flatMap(({ name, gpus, join, roles }) =>
      (gpus ?? [null]).map((gpu) => ({ place: { host: name, remote: join === true, gpu, roles: roles ?? null }, taken: 0 }))
    );
  }

  /**
   * The place of the next worker: one that fewest have, of those one that is for least else, and of those the first.
   *
   * @throws {LatentmeshError} `invalid_config` if no host takes such workers
   */
  take(role: UnitRole): HostPlace {
    const fitting = this.#places.filter(({ place }) => place.roles?.includes(role) ?? true);
    if (fitting.length === 0) {
      const problem = `no host takes ${role} workers; name ${role} in the roles of one, or leave roles out`;
      throw new LatentmeshError("invalid_config", `Cannot use cluster.hosts: ${problem}`, { param: "cluster.hosts" });
    }
    const choices = ({ place }: { place: HostPlace }) => place.roles?.length ?? Infinity;
    const next = fitting.reduce((best, one) => one.taken < best.taken || (one.taken === best.taken && choices(one) < choices(best)) ? one : best);
    next.taken++;
    return next.place;
  }

  /** Those that nobody has. */
  get idle(): HostPlace[] {
    return this.#places.filter(({ taken }) => taken === 0).map(({ place }) => place);
  }
}

/** Refuses units that no host takes. @throws {LatentmeshError} `invalid_config` */
export function checkRoles(hosts: readonly HostConfig[], counts: Readonly<Record<UnitRole, number>>): void {
  const places = new HostPlaces(hosts);
  for (const role of ["mixed", "decode", "prefill"] as const) if (counts[role] > 0) places.take(role);
}

/** Numbers of units where only hosts are named. */
export interface UnitCounts {
  /** Mixed units where hosts take nothing else, one on each place; 0: there are others. */
  readonly mixed: number;
  /** Prefill units: what decode groups leave free. */
  readonly prefill: number;
}

/** How many units there are by default, so that no place that somebody has named stays empty. */
export function unitCounts({ cluster, decode = {}, prefill = {}, mixed }: Config): UnitCounts {
  const { hosts } = cluster ?? {};
  if (hosts === undefined) return { mixed: 0, prefill: 1 };
  const onlyMixed = hosts.every(({ roles }) => roles?.every((role) => role === "mixed"));
  const others = [decode.ranks, decode.groups, prefill.workers].some((given) => given !== undefined);
  const places = new HostPlaces(hosts);
  if (onlyMixed && !others) return { mixed: Math.max(1, Math.floor(places.idle.length / (mixed?.ranks ?? 1))), prefill: 1 };
  const workers = (decode.ranks ?? DECODE_RANKS) * (decode.groups ?? 1);
  const takesDecode = hosts.some(({ roles }) => roles?.includes("decode") ?? true);
  for (let worker = 0; takesDecode && worker < workers; worker++) places.take("decode");
  const free = places.idle.filter(({ roles }) => roles?.includes("prefill") ?? true).length;
  return { mixed: 0, prefill: Math.max(1, Math.floor(free / (prefill.ranks ?? 1))) };
}

/** Workers of a decode group. */
export const DECODE_RANKS = 2;
