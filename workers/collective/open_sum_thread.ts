/**
 * How the ranks of a unit come to sum in threads of their own: each starts one and tells the others over their links where it listens. If one has none, none does.
 *
 * @module
 */
import { type LatentmeshError, messageOf } from "../../core/errors.ts";
import type { SharingInbox, SharingPeer } from "./share_memory.ts";
import { SumThread } from "./sum_thread.ts";
import type { SumThreadOptions } from "./thread_messages.ts";

/** Options of {@link openSumThread}. */
export interface OpenSumThreadOptions extends Omit<SumThreadOptions, "listen"> {
  /** Where the thread is to listen; null: this rank can have none. */
  readonly listen: string | null;
  /** What the others are told instead of where it listens. */
  readonly advertise: (address: string) => string;
  readonly onBroken: (worker: string, reason: LatentmeshError) => void;
  /** Told of a thread as soon as there is one: whoever ends the epoch ends it. */
  readonly onOpened: (thread: SumThread) => void;
}

/** Agrees with all other ranks. @param peers in rank order @throws {LatentmeshError} if one is silent or gone, or cannot be linked to */
export async function openSumThread(
  peers: readonly SharingPeer[],
  inbox: SharingInbox,
  { listen, advertise, onBroken, onOpened, ...options }: OpenSumThreadOptions,
): Promise<SumThread | null> {
  const { rank, epoch, deadlineMs } = options;
  const opened = listen === null ? null : await SumThread.open({ ...options, listen }, onBroken).catch((error) => {
    // Sums work without one, slower.
    console.error(`Sums are made beside everything else: ${messageOf(error)}`);
    return null;
  });
  if (opened !== null) onOpened(opened[0]);
  for (const peer of peers) peer.send({ kind: "sums", epoch, address: opened === null ? null : advertise(opened[1]) });
  const addresses = [];
  for (const peer of peers) addresses.push((await inbox.take(peer, "sums", deadlineMs)).address);
  if (opened === null || !addresses.every((address) => address !== null)) {
    opened?.[0].end();
    return null;
  }
  await opened[0].link(addresses.slice(0, rank));
  return opened[0];
}
