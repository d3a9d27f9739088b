/**
 * Why there is no place for a worker that has come: because there never will be one, or only for now.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { Hello } from "../../core/wire/messages.ts";
import type { Slot } from "../planning/topology.ts";

/**
 * The refusal: `unauthorized` says that it need not come again under this name, `capacity` that a place may become free.
 *
 * @param addressOf where the worker that has a place listens; null: nobody has it
 */
export function noPlaceFor(
  worker: string,
  { host, address }: Pick<Hello, "host" | "address">,
  slots: readonly Slot[],
  addressOf: (slot: Slot) => string | null,
): LatentmeshError {
  const joining = slots.filter(({ remote }) => remote);
  const places = joining.filter((slot) => slot.host === host);
  // A worker that was started here, whose place has been taken by the next.
  const isOwn = slots.some(({ name, remote }) => !remote && name === worker.split("/")[0]);
  if (places.length === 0 && !isOwn) {
    const names = [...new Set(joining.map((slot) => slot.host))];
    if (names.length === 0) return new LatentmeshError("unauthorized", `no host joins this cluster: none in cluster.hosts has join: true`);
    return new LatentmeshError("unauthorized", `no host "${host}" joins here; change --name to ${names.join(" or ")}`);
  }
  const held = places.map(addressOf);
  const elsewhere = held.find((held) => held !== null && hostOf(held) !== hostOf(address));
  if (held.length > 0 && held.every((held) => held !== null && hostOf(held) !== hostOf(address))) {
    return new LatentmeshError("unauthorized", `another machine, ${hostOf(elsewhere!)}, has joined as "${host}"; change --name`);
  }
  if (held.length === 0 || held.includes(null)) return new LatentmeshError("capacity", `Worker ${worker}: there is no free place for host ${host}`);
  const names = places.map(({ name }) => name).join(", ");
  const problem = held.length === 1
    ? `the one place of host ${host} is taken (${names})`
    : `all ${held.length} places of host ${host} are taken (${names})`;
  const remedy = "more units or GPUs in the cluster file would use it, fewer --gpus would not start it";
  return new LatentmeshError("capacity", `Worker ${worker}: ${problem}; it waits for one to become free: ${remedy}`);
}

function hostOf(address: string): string {
  return URL.canParse(address) ? new URL(address).hostname : address;
}
