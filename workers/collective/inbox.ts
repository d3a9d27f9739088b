/**
 * What one rank has sent of sums and nobody has taken yet, or who waits for it.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import type { Link } from "../../core/wire/link.ts";
import type { PeerFrameOf } from "../../core/wire/messages.ts";
import { PAYLOAD_ALIGNMENT } from "../../core/wire/protocol.ts";
import { WorkerError } from "../../core/wire/rpc.ts";
import { checkTensor } from "../../core/wire/tensors.ts";
import { SilenceWatch, type WatchedWait } from "../../core/silence.ts";
import { rankGone } from "./collective.ts";
import type { PartFrame } from "./part_frame.ts";

/** A rank on the other end of a link. */
export interface PeerRank {
  readonly rank: number;
  readonly worker: string;
  readonly link: Link;
}

/** What is waited for, and who is told. */
export interface AwaitedPart {
  readonly turn: number;
  readonly dtype: "f32" | "f16";
  readonly values: number;
  /** A frame of the same exchange that brings as many values, if this rank sends one. */
  readonly like: PartFrame | null;
  came(payload: Uint8Array<ArrayBuffer>): void;
  failed(error: LatentmeshError): void;
}

interface ReceivedPart {
  readonly frame: PeerFrameOf<"partial">;
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** One peer's. */
export class Inbox {
  readonly peer: PeerRank;
  readonly #deadlineMs: number;
  readonly #silence = new SilenceWatch();
  readonly #received: ReceivedPart[] = [];
  #awaited: AwaitedPart | null = null;
  #wait: WatchedWait | null = null;
  #failure: LatentmeshError | null = null;

  /** @param deadlineMs of silence while something is waited for */
  constructor(peer: PeerRank, deadlineMs: number) {
    this.peer = peer;
    this.#deadlineMs = deadlineMs;
    peer.link.closed.then((reason) => this.fail(rankGone(peer, reason)));
  }

  /** Takes in a frame. @throws {LatentmeshError} `protocol` if nobody asked for it */
  put(frame: PeerFrameOf<"partial">, payload: Uint8Array<ArrayBuffer>): void {
    if (this.#awaited !== null) return this.#give(this.#take(), { frame, payload });
    // A peer can be one exchange ahead, two where tensors are reduced in blocks.
    if (this.#received.length > 2) throw new LatentmeshError("protocol", `Worker ${this.peer.worker} sends partial results that nobody asked for`);
    this.#received.push({ frame, payload });
  }

  /** Takes in a frame as it came, if it is what is waited for. @returns whether it is */
  putEncoded(frame: Uint8Array<ArrayBuffer>): boolean {
    if (this.#awaited?.like?.matches(frame) !== true) return false;
    this.#take().came(frame.subarray(PAYLOAD_ALIGNMENT));
    return true;
  }

  /** Tells when the peer's part is there: at once, if it is. One at a time. */
  wait(part: AwaitedPart): void {
    const arrival = this.#received.shift();
    if (arrival !== undefined) return this.#give(part, arrival);
    if (this.#failure !== null) return part.failed(this.#failure);
    this.#awaited = part;
    this.#wait = this.#silence.begin(this.#deadlineMs, this.#silent);
  }

  /** Ends what waits, and everything that comes. */
  fail(reason: LatentmeshError): void {
    this.#failure ??= reason;
    this.#silence.stop();
    if (this.#awaited !== null) this.#take().failed(this.#failure);
  }

  #take(): AwaitedPart {
    const awaited = this.#awaited!;
    this.#awaited = null;
    if (this.#wait !== null) this.#silence.end(this.#wait);
    return awaited;
  }

  readonly #silent = (): void => {
    const { rank, worker } = this.peer;
    this.fail(new WorkerError("timeout", `Rank ${rank} (worker ${worker}) was silent for ${this.#deadlineMs} ms`, worker));
  };

  #give(part: AwaitedPart, { frame, payload }: ReceivedPart): void {
    const { turn, dtype, values } = part;
    try {
      if (frame.turn !== turn) throw new LatentmeshError("protocol", `Worker ${this.peer.worker} is at exchange ${frame.turn} where ${turn} is due`);
      checkTensor(frame, payload, { dtype, shape: [values] });
    } catch (error) {
      this.peer.link.close(error as LatentmeshError);
      return part.failed(error as LatentmeshError);
    }
    part.came(payload);
  }
}
