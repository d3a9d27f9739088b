/**
 * Sums over the ranks of a unit. Partial results are added in rank order, so every rank holds the same bits, and the same batch gives the same bits on every run,
 * whichever way the parts travel.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { PeerFrameOf } from "../../core/wire/messages.ts";
import { WorkerError } from "../../core/wire/rpc.ts";

/** Another rank, and how its end is learnt of. */
export interface OtherRank {
  readonly rank: number;
  readonly worker: string;
  /** Resolves when it is gone. */
  readonly gone: Promise<LatentmeshError>;
}

/** What an exchange ends with when a rank is gone. */
export function rankGone({ rank, worker }: Pick<OtherRank, "rank" | "worker">, reason: LatentmeshError): WorkerError {
  return new WorkerError("worker_lost", `Rank ${rank} (worker ${worker}) is gone: ${reason.message}`, worker);
}

/** What an exchange gives. */
export type Exchanged =
  /** The other ranks' parts in rank order, as they were sent; whoever consumes the sum adds them (kernels/rank_parts). Null for one that was taken before. */
  | { readonly parts: readonly (Uint8Array<ArrayBuffer> | null)[] }
  /** All ranks' parts, added in rank order. */
  | { readonly sum: Float32Array<ArrayBuffer> };

/**
 * Takes another rank's part before the exchange is over.
 *
 * @param other whose, counted without this rank
 * @param part as it was sent; another's as soon as this returns
 */
export type TakePart = (other: number, part: Uint8Array<ArrayBuffer>) => void;

/** As {@link Collective.exchange} takes it: nothing is summed, and everybody's part comes back as it was given, whatever the ranks are and what is in it. */
export const NO_SUM = 0;

/** What the forward pass needs of the other ranks. */
export interface Collective {
  readonly rank: number;
  readonly ranks: number;
  /** How parts travel. */
  readonly by: "memory" | "shared-memory" | "websocket";
  /**
   * When they do: as soon as they are given, meanwhile, or in turns of this thread's event loop. What ranks can do before they wait for each other, they do
   * while the device works in the first case, and while parts are on their way in the second; in the third, nothing may keep the loop from turning.
   */
  readonly travels: "at once" | "meanwhile" | "in turns";
  /** Precision of parts on their way. */
  readonly wire: "f32" | "f16";
  /** Most values of one exchange. */
  readonly mostValues: number;
  /** Exchanges so far. */
  readonly exchanges: number;
  /** Milliseconds spent in them. */
  readonly exchangeMs: number;
  /**
   * Where this rank's part of `values` values goes before {@link exchange}: memory that is sent from, so that nothing is copied in between.
   *
   * @param take is given others' parts of that exchange as they come, each once, where this way of exchanging can; the exchange has `null` for them
   */
  input(values: number, take?: TakePart): Uint8Array<ArrayBuffer>;
  /** Gives what has come so far to whom {@link input} was told. Absent where nothing is there before {@link exchange}. */
  readonly poll?: () => void;
  /**
   * Gives what was put into {@link input} to all other ranks and takes theirs. Valid until the next call of {@link input}.
   *
   * @param whole values of the sum that these are a piece of, all of whose pieces come back in the same form; or {@link NO_SUM}
   * @param meanwhile done as soon as this rank's part is given, before the others' are waited for
   * @returns a promise only where something has to be waited for
   * @throws {WorkerError} `timeout` or `worker_lost`, naming the rank that was silent
   */
  exchange(values: number, whole?: number, meanwhile?: () => void): Exchanged | Promise<Exchanged>;
  /** Milliseconds spent in each exchange since this was last asked. */
  takeWaits(): number[];
  /** Takes in a peer's part. @throws {LatentmeshError} `protocol` if it is out of turn */
  receive(rank: number, frame: PeerFrameOf<"partial">, payload: Uint8Array<ArrayBuffer>): void;
  /** Ends what waits, and everything that comes. */
  abort(reason: LatentmeshError): void;
}

/** A unit of one rank: nothing to sum. */
export class SoloCollective implements Collective {
  readonly rank = 0;
  readonly ranks = 1;
  readonly by = "memory";
  readonly travels = "at once";
  readonly wire = "f32";
  readonly mostValues = Infinity;
  readonly exchanges = 0;
  readonly exchangeMs = 0;

  input(values: number): Uint8Array<ArrayBuffer> {
    return new Uint8Array(values * 4);
  }

  exchange(): Exchanged {
    return { parts: [] };
  }

  takeWaits(): number[] {
    return [];
  }

  receive(): void {
    throw new LatentmeshError("protocol", "A rank alone takes no partial results");
  }

  abort(): void {}
}

/** `sum[i] += part[i]`, for sums that are made on the host. */
export function addInto(sum: Float32Array, part: Float32Array | Float16Array): void {
  for (let i = 0; i < sum.length; i++) sum[i] += part[i];
}
