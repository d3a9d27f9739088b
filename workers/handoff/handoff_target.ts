/**
 * A decode rank as the prefill side of the handoff sees it: what is on its way there, and how long it has been silent about it.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { watchSilence } from "../../core/silence.ts";
import type { RankShape } from "../../core/tpla/partition.ts";
import { encodeFrame, sealFrame } from "../../core/wire/codec.ts";
import type { Link } from "../../core/wire/link.ts";
import type { PeerFrame, PeerFrameOf } from "../../core/wire/messages.ts";
import { WorkerError } from "../../core/wire/rpc.ts";
import type { Cut } from "./latent_exporter.ts";
import type { RoomWaiter, SendingWindow } from "./handoff_window.ts";

/** A decode rank that prompts are handed to. */
export interface HandoffTarget {
  readonly worker: string;
  readonly link: Link;
  readonly shape: RankShape;
  /** Memory that latents go through; null: they go over the link. */
  readonly window: SendingWindow | null;
}

/** Which prompt is handed over, and to whom. */
export interface OutgoingOptions {
  /** Name of the decode group, and its epoch. */
  readonly group: string;
  readonly epoch: number;
  readonly sequence: number;
  /** Milliseconds for which a rank may leave something unacknowledged. */
  readonly silentMs: number;
}

/** Prompts on their way over each link. Links outlive prompts by far: one listener a link, not one a prompt. */
const underWay = new WeakMap<Link, Set<Outgoing>>();

function prompts(link: Link): Set<Outgoing> {
  const known = underWay.get(link);
  if (known !== undefined) return known;
  const all = new Set<Outgoing>();
  underWay.set(link, all);
  void link.closed.then((reason) => {
    // Who comes from now on asks the link anew.
    underWay.delete(link);
    for (const outgoing of all) outgoing.lost(reason);
  });
  return all;
}

/** One prompt's latents on their way to one rank. */
export class Outgoing implements RoomWaiter {
  readonly worker: string;
  unacknowledged = 0;
  readonly #link: Link;
  readonly #window: SendingWindow | null;
  readonly #options: OutgoingOptions;
  #failure: LatentmeshError | null = null;
  /** Woken by whatever may give room. */
  #waiting: PromiseWithResolvers<void> | null = null;
  /** Ends the wait for an acknowledgement; null: none is waited for. */
  #stopWatching: (() => void) | null = null;

  constructor({ worker, link, window }: HandoffTarget, options: OutgoingOptions) {
    this.worker = worker;
    this.#link = link;
    this.#window = window;
    this.#options = options;
    prompts(link).add(this);
  }

  /** Sends what lies in memory. @returns bytes of the message and of what belongs to it @throws {LatentmeshError} if the rank refused something, is gone, or was silent */
  send(
    header: Omit<PeerFrameOf<"latents">, "kind" | "epoch" | "sequence">,
    memory: Uint8Array<ArrayBuffer>,
    part: Cut["parts"][number],
  ): number {
    if (this.#failure !== null) throw this.#failure;
    const { epoch, sequence } = this.#options;
    const message = { kind: "latents", epoch, sequence, ...header } as const satisfies PeerFrame;
    const at = this.#window?.put(memory.subarray(part.begin, part.begin + part.bytes), this) ?? null;
    const frame = at === null ? sealFrame(message, memory, part) : encodeFrame({ ...message, at } satisfies PeerFrame);
    this.unacknowledged += part.bytes;
    this.#watch();
    this.#link.sendFrame(frame);
    return at === null ? frame.byteLength : frame.byteLength + part.bytes;
  }

  /** Takes in what the rank sent back. */
  receive(frame: PeerFrameOf<"ack" | "rejected">): void {
    if (frame.epoch !== this.#options.epoch || frame.sequence !== this.#options.sequence) return;
    if (frame.kind === "rejected") {
      return this.fail(new LatentmeshError("protocol", `Decode worker ${this.worker} refused latents: ${frame.message}`));
    }
    this.unacknowledged -= frame.bytes;
    if (this.unacknowledged === 0) this.#window?.emptied(this);
    this.heard();
  }

  /** Whether so many bytes can go now, if no more than `windowBytes` are to be on their way. What is larger goes when nothing else is: waiting for more room would be for ever. */
  hasRoom(bytes: number, windowBytes: number): boolean {
    return this.unacknowledged <= Math.max(0, windowBytes - bytes) && (this.#window?.hasRoom(bytes, this) ?? true);
  }

  /** Resolves when the rank has acknowledged everything. @throws {LatentmeshError} as {@link send} */
  async acknowledged(): Promise<void> {
    if (this.#failure !== null) throw this.#failure;
    while (this.unacknowledged > 0) await this.tookIn();
  }

  /** Resolves when the rank has taken something in, of this prompt or of another. @throws {LatentmeshError} as {@link send} */
  async tookIn(): Promise<void> {
    if (this.#failure !== null) throw this.#failure;
    this.#waiting = Promise.withResolvers();
    this.#watch();
    await this.#waiting.promise;
  }

  /** Its link has ended. */
  lost(reason: LatentmeshError): void {
    this.fail(this.#lost("worker_lost", `is gone: ${reason.message}`, null));
  }

  /** Ends whatever waits, and sends no more. */
  fail(reason: LatentmeshError): void {
    underWay.get(this.#link)?.delete(this);
    this.#failure ??= reason;
    this.#watchNoMore();
    this.#waiting?.reject(this.#failure);
    this.#waiting = null;
    this.#window?.leave(this);
  }

  /** The rank is not silent: it has taken something in, of this prompt or of another that is in front of it. */
  heard(): void {
    this.#waiting?.resolve();
    this.#waiting = null;
    this.#watchNoMore();
    this.#watch();
  }

  /** Expects an acknowledgement, if one is outstanding or waited for and none is expected yet. */
  #watch(): void {
    if (this.#stopWatching !== null || (this.unacknowledged === 0 && this.#waiting === null) || this.#failure !== null) return;
    const { silentMs } = this.#options;
    this.#stopWatching = watchSilence(silentMs, () => this.fail(this.#lost("timeout", `acknowledged no latents for ${silentMs} ms`, this.worker)));
  }

  #watchNoMore(): void {
    this.#stopWatching?.();
    this.#stopWatching = null;
  }

  /** The group is to blame, in this epoch of its own; the unit that hands over is not. */
  #lost(code: "worker_lost" | "timeout", what: string, silent: string | null): WorkerError {
    const { group: name, epoch } = this.#options;
    return new WorkerError(code, `Decode worker ${this.worker} ${what}`, silent, { name, epoch });
  }
}
