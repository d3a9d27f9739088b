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

/** What came of it. */
export type OpenedThread = { readonly thread: SumThread } | { readonly thread: null; readonly problem: string };

/** Agrees with all other ranks. @param peers in rank order @throws {LatentmeshError} if one is silent or gone, or cannot be linked to */
export async function openSumThread(
  peers: readonly SharingPeer[],
  inbox: SharingInbox,
  { listen, advertise, onBroken, onOpened, ...options }: OpenSumThreadOptions,
): Promise<OpenedThread> {
  const { rank, epoch, deadlineMs } = options;
  const opened = await start();
  if (opened.thread !== null) onOpened(opened.thread);
  const own = opened.thread === null ? null : advertise(opened.address);
  for (const peer of peers) peer.send({ kind: "sums", epoch, address: own });
  const addresses: string[] = [];
  let problem = opened.thread === null ? opened.problem : null;
  for (const peer of peers) {
    const { address } = await inbox.take(peer, "sums", deadlineMs);
    if (address === null) problem ??= `rank ${peer.rank} (worker ${peer.worker}) has none`;
    else addresses.push(address);
  }
  if (opened.thread === null || problem !== null) {
    opened.thread?.end();
    return { thread: null, problem: problem! };
  }
  await opened.thread.link(addresses.slice(0, rank));
  return opened;

  async function start(): Promise<{ readonly thread: SumThread; readonly address: string } | { readonly thread: null; readonly problem: string }> {
    if (listen === null) return { thread: null, problem: "its sockets are not for threads" };
    try {
      const [thread, address] = await SumThread.open({ ...options, listen }, onBroken);
      return { thread, address };
    } catch (error) {
      return { thread: null, problem: messageOf(error) };
    }
  }
}
