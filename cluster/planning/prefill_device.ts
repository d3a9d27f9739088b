/**
 * What prefill workers have, so that what they compute at a time can be chosen before they load.
 *
 * @module
 */
import { isHost } from "../../core/device_kind.ts";
import type { PrefillDevice } from "../../core/model/prefill_sizes.ts";
import type { PlanServices } from "./services.ts";
import type { Settings } from "../config/settings.ts";
import { planUnits } from "./topology.ts";

/** The device that a configuration comes to here. @throws {LatentmeshError} `device_unavailable` */
export async function probePrefillDevice(settings: Settings, services: PlanServices): Promise<PrefillDevice> {
  const { kind, limits: { maxBindingBytes } } = await services.probeDevice(settings.device, settings.dawn);
  return { kind, maxBindingBytes, freeBytes: isHost(kind) ? null : await freeForPrefill(settings, services) };
}

/** Bytes that each worker that prefills may count on, of a GPU that others may share; null where that cannot be told. */
export async function freeForPrefill(
  settings: Pick<Settings, "decode" | "prefill" | "mixed" | "cluster">,
  { freeMemory }: Pick<PlanServices, "freeMemory">,
): Promise<number | null> {
  const places = planUnits(settings).flatMap(({ role, slots }) => slots.map((slot) => ({ ...slot, role })));
  if (places.some(({ role, remote }) => role !== "decode" && remote)) return null;
  let least = Infinity;
  for (const [gpu, sharing] of Map.groupBy(places.filter(({ remote }) => !remote), ({ gpu }) => gpu)) {
    if (sharing.every(({ role }) => role === "decode")) continue;
    const free = await freeMemory(gpu ?? "any").catch(() => null);
    if (free === null) return null;
    least = Math.min(least, free / sharing.length);
  }
  return least;
}
