/**
 * What a cluster consists of, and what would make more of it, for people.
 *
 * @module
 */
import { isHost } from "../../core/device_kind.ts";
import type { PartitionOptions } from "../../core/tpla/partition.ts";
import type { Settings } from "../config/settings.ts";
import { gpuAdvice } from "../planning/topology.ts";
import { LocalHost } from "./local_host.ts";
import { threadAdvice } from "./share_cores.ts";
import type { Unit } from "./unit.ts";
import type { UnitHost } from "./unit_host.ts";

/** What would make more of the machines. @param gpus of this host @param threads that workers were asked to have */
export function adviceFor(
  { members, units }: UnitHost,
  { gpus, threads }: { readonly gpus: number; readonly threads: number | undefined },
): string[] {
  const onGpus = members.filter(({ hello }) => !isHost(hello.device.kind));
  const together = units.map((unit) => unit.members.filter((one) => one?.hello.device.kind === "wasm" && !one.slot.remote).length);
  const advice = [
    gpuAdvice(onGpus.map(({ slot }) => slot), gpus),
    threadAdvice(threads, Math.max(...together)),
    ...members.map(({ hello }) => hello.device.advice),
  ];
  // Several workers have the same to say.
  return [...new Set(advice.filter((one) => one != null))];
}

/** What a cluster consists of. @param cut of its decode ranks */
export function summarize({ decode, prefill, mixed }: Settings, cut: PartitionOptions, host: UnitHost): string {
  if (host instanceof LocalHost) return "one mixed worker in this process, for prefill and decode in one cache (exact)";
  const all = host.units;
  const { ranks, latentGroups } = cut;
  const several = (count: number, what: string) => `${count} ${what}${count === 1 ? "" : "s"}`;
  const summed = ranks === 1 ? "" : `, ${sums(cut, all)}`;
  const sliced = `${several(latentGroups, "latent slice")}, ${extentOf(cut)}`;
  const attention = {
    mla: "mla, heads split and latents whole: exact",
    tpla: `tpla, ${sliced}`,
    dcp: latentGroups === 1 ? "dcp, latents shared by tokens: exact" : `dcp, ${sliced}, shared by tokens`,
  }[decode.scheme.attention];
  if (mixed.workers > 0) {
    const each = mixed.ranks === 1 ? "" : ` of ${mixed.ranks} ranks`;
    const unit = mixed.ranks === 1 ? "mixed worker" : "mixed unit";
    const how = decode.scheme.attention === "mla"
      ? "for prefill and decode in one cache (exact)"
      : `for prefill (exact, over whole latents) and decode (${attention})`;
    return `${several(mixed.workers, unit)}${each}, ${how}${summed}`;
  }
  const units = prefill.ranks === 1
    ? several(prefill.workers, "prefill worker")
    : `${several(prefill.workers, "prefill unit")} of ${prefill.ranks} workers`;
  return `${units}, ${several(decode.groups, "decode group")} of ${several(ranks, "rank")} (${attention})${summed}`;
}

/** How much of latents ranks have, as one number or as the range that layers have. */
function extentOf({ halo, widths }: PartitionOptions): string {
  if (widths === undefined) return `halo ${halo}`;
  const [least, most] = [Math.min(...widths), Math.max(...widths)];
  return `${least === most ? least : `${least} to ${most}`} directions of each layer as calibrated`;
}

/** How ranks share what a layer computes, and how their parts travel. */
function sums({ feedForward }: PartitionOptions, all: readonly Unit[]): string {
  const exchanges = all.filter(({ plan: { role } }) => role !== "prefill").flatMap(({ exchange }) => exchange ?? []);
  const ways = [...new Set(exchanges.map(({ by }) => by === "shared-memory" ? "through shared memory" : "over WebSocket"))].join(" and ");
  const notShared = exchanges.find(({ notShared }) => notShared !== null)?.notShared;
  const notThreaded = exchanges.find(({ notThreaded }) => notThreaded !== null)?.notThreaded;
  const blocks = feedForward === "replicated" ? "feed-forward blocks whole on every rank" : "feed-forward blocks shared";
  const whyNot = [...(notShared == null ? [] : [`no shared memory: ${notShared}`]), ...(notThreaded == null ? [] : [`no thread: ${notThreaded}`])];
  return `${blocks}, sums ${ways}${whyNot.length === 0 ? "" : ` (${whyNot.join("; ")})`}`;
}
