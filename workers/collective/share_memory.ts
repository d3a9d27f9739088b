/**
 * How the ranks of a unit come to share memory: the first makes a segment and tells the others over their links where it is; when all have it, its name is taken
 * away. If one cannot, none does.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import type { PeerFrameOf } from "../../core/wire/messages.ts";
import { WorkerError } from "../../core/wire/rpc.ts";
import { SharedMemory } from "./shared_memory.ts";
import { watchSilence } from "../../core/silence.ts";

/** What ranks say to each other about how they exchange. */
export type SharingFrame = PeerFrameOf<"segment" | "mapped" | "shared" | "sums">;

/** Another rank. */
export interface SharingPeer {
  readonly rank: number;
  readonly worker: string;
  send(frame: SharingFrame): void;
}

/** Options of {@link shareMemory}. */
export interface SharingOptions {
  readonly rank: number;
  readonly epoch: number;
  readonly bytes: number;
  readonly deadlineMs: number;
  /** Why this rank cannot, if that is known. */
  readonly obstacle: string | null;
}

/** What came of it. */
export type Shared = { readonly segment: SharedMemory } | { readonly segment: null; readonly problem: string };

/** Frames of other ranks, which come whenever they like. */
export class SharingInbox {
  readonly #frames = new Map<number, SharingFrame[]>();
  #arrived: PromiseWithResolvers<void> = Promise.withResolvers();
  #failure: LatentmeshError | null = null;

  /** Takes one in. */
  put(rank: number, frame: SharingFrame): void {
    const frames = this.#frames.get(rank);
    if (frames === undefined) this.#frames.set(rank, [frame]);
    else frames.push(frame);
    this.#arrived.resolve();
  }

  /** Whoever waits for a frame is told that none comes. */
  fail(reason: LatentmeshError): void {
    this.#failure ??= reason;
    this.#arrived.resolve();
  }

  /** The next frame of a rank. @throws {LatentmeshError} `protocol` if it is of another kind, `timeout` if it does not come */
  async take<K extends SharingFrame["kind"]>(
    { rank, worker }: SharingPeer,
    kind: K,
    deadlineMs: number,
  ): Promise<Extract<SharingFrame, { kind: K }>> {
    const stop = watchSilence(deadlineMs, () => {
      this.fail(new WorkerError("timeout", `Rank ${rank} (worker ${worker}) was silent for ${deadlineMs} ms about shared memory`, worker));
    });
    try {
      while (true) {
        const frame = this.#frames.get(rank)?.shift();
        if (frame?.kind === kind) return frame as Extract<SharingFrame, { kind: K }>;
        if (frame !== undefined) throw new LatentmeshError("protocol", `Worker ${worker} says "${frame.kind}" where "${kind}" is due`);
        if (this.#failure !== null) throw this.#failure;
        await this.#arrived.promise;
        this.#arrived = Promise.withResolvers();
      }
    } finally {
      stop();
    }
  }
}

/** Agrees with all other ranks. @param peers in rank order @throws {LatentmeshError} if one is silent or gone */
export async function shareMemory(peers: readonly SharingPeer[], inbox: SharingInbox, options: SharingOptions): Promise<Shared> {
  return options.rank === 0 ? await offer(peers, inbox, options) : await accept(peers[0], inbox, options);
}

async function offer(peers: readonly SharingPeer[], inbox: SharingInbox, { epoch, bytes, deadlineMs, obstacle }: SharingOptions): Promise<Shared> {
  const made = attempt(obstacle, () => SharedMemory.create(bytes));
  const { segment } = made;
  const say = (frame: SharingFrame) => peers.forEach((peer) => peer.send(frame));
  try {
    say({ kind: "segment", epoch, segment: segment === null ? null : { path: segment.path, bytes, key: segment.key } });
    if (segment === null) return made;
    let problem: string | null = null;
    for (const peer of peers) {
      const mapped = await inbox.take(peer, "mapped", deadlineMs);
      if (mapped.problem !== null) problem ??= `rank ${peer.rank} (worker ${peer.worker}): ${mapped.problem}`;
    }
    segment.unlink();
    say({ kind: "shared", epoch, problem });
    if (problem === null) return { segment };
    segment.close();
    return { segment: null, problem };
  } catch (error) {
    segment?.close();
    throw error;
  }
}

async function accept(first: SharingPeer, inbox: SharingInbox, { epoch, bytes, deadlineMs, obstacle }: SharingOptions): Promise<Shared> {
  const { segment: offered } = await inbox.take(first, "segment", deadlineMs);
  if (offered === null) return { segment: null, problem: `rank 0 (worker ${first.worker}) has none to share` };
  if (offered.bytes !== bytes) throw new LatentmeshError("protocol", `Worker ${first.worker} shares ${offered.bytes} bytes where ${bytes} are due`);
  const made = attempt(obstacle, () => SharedMemory.open(offered.path, offered.bytes, offered.key as Uint8Array<ArrayBuffer>));
  try {
    first.send({ kind: "mapped", epoch, problem: made.segment === null ? made.problem.slice(0, 512) : null });
    const { problem } = await inbox.take(first, "shared", deadlineMs);
    if (problem === null) return made;
    made.segment?.close();
    return { segment: null, problem };
  } catch (error) {
    made.segment?.close();
    throw error;
  }
}

function attempt(obstacle: string | null, map: () => SharedMemory): Shared {
  if (obstacle !== null) return { segment: null, problem: obstacle };
  try {
    return { segment: map() };
  } catch (error) {
    return { segment: null, problem: messageOf(error) };
  }
}
