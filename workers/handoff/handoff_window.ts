/**
 * Memory that a prefill worker shares with a decode rank of its host: latents lie there while messages about them travel over their link, so that a rank which is
 * busy with steps takes in between two of them what a socket would bring in twenty. It is a ring: what was put there first is given back first, since every message
 * is answered in turn.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { roundUp } from "../../core/numeric.ts";
import type { Link } from "../../core/wire/link.ts";
import type { PeerFrame, PeerFrameOf } from "../../core/wire/messages.ts";
import { PAYLOAD_ALIGNMENT } from "../../core/wire/protocol.ts";
import { KEY_BYTES, SharedMemory, whyNotShared } from "../collective/shared_memory.ts";

/** Most bytes that latents have: what a rank is to take in between two steps. */
const MOST_BYTES = 64 << 20;
/** Part of the memory that can be shared which one window may have: containers have 64 MiB of it, and sums go through it, too. */
const PART_OF_FREE = 1 / 4;
/** With less than a few frames latents would wait for each other longer than for the link. */
const LEAST_BYTES = 8 << 20;
/** Where latents begin in a segment. */
const BEGIN = roundUp(KEY_BYTES, PAYLOAD_ALIGNMENT);

interface Place {
  readonly begin: number;
  readonly end: number;
}

/** Places in a ring of bytes, given back in the order in which they were taken. */
export class RingPlaces {
  /** Of all places. */
  readonly bytes: number;
  /** What was taken, in order; null: it has no place. */
  readonly #taken: (Place | null)[] = [];
  /** Those of {@link #taken} that have one. */
  readonly #places: Place[] = [];

  constructor(bytes: number) {
    this.bytes = bytes;
  }

  /** Whether there is a place now for so many bytes that follow each other. */
  has(bytes: number): boolean {
    return this.#find(bytes) !== null;
  }

  /** Takes such a place. @returns where it begins; null if there is none now, which is to be given back, too */
  take(bytes: number): number | null {
    const begin = this.#find(bytes);
    if (begin === null) return this.skip();
    const place = { begin, end: begin + bytes };
    this.#taken.push(place);
    this.#places.push(place);
    return begin;
  }

  /** Takes no place, which is to be given back like others. */
  skip(): null {
    this.#taken.push(null);
    return null;
  }

  /** Gives back what was taken first. @throws {LatentmeshError} `protocol` if nothing is */
  giveBack(): void {
    const first = this.#taken.shift();
    if (first === undefined) throw new LatentmeshError("protocol", "A decode rank answers latents that nobody has sent");
    if (first !== null) this.#places.shift();
  }

  #find(bytes: number): number | null {
    const [first, last] = [this.#places[0], this.#places.at(-1)];
    if (last === undefined) return bytes <= this.bytes ? 0 : null;
    const next = roundUp(last.end, PAYLOAD_ALIGNMENT);
    // From behind the last one to the first one, around the end of the ring.
    if (last.begin < first.begin) return next + bytes <= first.begin ? next : null;
    if (next + bytes <= this.bytes) return next;
    return bytes <= first.begin ? 0 : null;
  }
}

/** What a window has, given what the longest prompt has and what is free; 0: there is none. */
function windowBytes(promptBytes: number, free: number): number {
  const bytes = Math.min(promptBytes, MOST_BYTES, Math.floor(free * PART_OF_FREE));
  return bytes < Math.min(promptBytes, LEAST_BYTES) ? 0 : bytes;
}

/** Who waits for room in a window. */
export interface RoomWaiter {
  /** The other side has taken something in, or there may be room for another reason. */
  heard(): void;
}

/** A prefill worker's end. */
export class SendingWindow {
  readonly #places: RingPlaces;
  #segment: SharedMemory | null;
  #mapped = false;
  /** Who waits for room, in the order in which it is given. */
  readonly #line = new Set<RoomWaiter>();
  /** Who has latents there that are not answered. */
  readonly #users = new Set<RoomWaiter>();

  private constructor(segment: SharedMemory | null, bytes: number) {
    this.#segment = segment;
    this.#places = new RingPlaces(bytes);
  }

  /**
   * Offers memory over a link; until the other side has it, and where it cannot be shared, latents travel over the link.
   *
   * @param promptBytes what the longest prompt has; more is of no use
   * @param options.obstacle why memory is not shared; by default it is found out
   * @param options.free bytes of memory that can be shared
   */
  static offer(
    link: Link,
    epoch: number,
    promptBytes: number,
    { obstacle = whyNotShared(), free = SharedMemory.free }: { readonly obstacle?: string | null; readonly free?: () => number } = {},
  ): SendingWindow {
    let segment: SharedMemory | null = null;
    try {
      const bytes = obstacle === null ? windowBytes(promptBytes, free()) : 0;
      if (bytes > 0) segment = SharedMemory.create(BEGIN + bytes);
    } catch {
      // No room, or no such memory: sockets do as well, if not as fast.
    }
    const window = new SendingWindow(segment, (segment?.bytes ?? BEGIN) - BEGIN);
    if (segment === null) return window;
    link.send({ kind: "segment", epoch, segment: { path: segment.path, bytes: segment.bytes, key: segment.key } } satisfies PeerFrame);
    void link.closed.then(() => window.#close());
    return window;
  }

  /** Whether latents go through memory. */
  get shared(): boolean {
    return this.#mapped && this.#segment !== null;
  }

  /** The other side has it, or cannot. */
  mapped(problem: string | null): void {
    this.#segment?.unlink();
    this.#mapped = problem === null;
    if (problem !== null) this.#close();
  }

  /**
   * Whether latents of so many bytes can go on their way now. Where memory is shared they wait for their turn there: over the link they would hold up all that
   * come after them. Who has to wait is told when there is room, and nobody who came later has it before.
   */
  hasRoom(bytes: number, who: RoomWaiter): boolean {
    if (!this.shared || bytes > this.#places.bytes) return true;
    const first = this.#line.values().next().value ?? who;
    const room = first === who && this.#places.has(bytes);
    if (!room) this.#line.add(who);
    return room;
  }

  /** Has nothing there any more; who waits for room goes on waiting, in its place. */
  emptied(who: RoomWaiter): void {
    this.#users.delete(who);
  }

  /** Has nothing there, and waits for nothing. */
  leave(who: RoomWaiter): void {
    this.emptied(who);
    if (this.#line.delete(who)) this.#tell(this.#line);
  }

  /** Puts latents there. @param who is told of everything that is answered, until it leaves @returns where they lie; null if they are to travel over the link */
  put(latents: Uint8Array<ArrayBuffer>, who: RoomWaiter): number | null {
    this.#users.add(who);
    if (this.#line.delete(who)) this.#tell(this.#line);
    if (this.#segment === null || !this.#mapped) return this.#places.skip();
    const at = this.#places.take(latents.byteLength);
    if (at !== null) new Uint8Array(this.#segment.memory, BEGIN + at, latents.byteLength).set(latents);
    return at;
  }

  /** The first of what was sent and not answered is answered: the other side has no more use for it. */
  answered(): void {
    this.#places.giveBack();
    this.#tell(this.#line.union(this.#users));
  }

  #close(): void {
    this.#segment?.close();
    this.#segment = null;
    // Latents go over the link from now on, if there is one.
    this.#tell(this.#line);
    this.#line.clear();
  }

  #tell(whom: ReadonlySet<RoomWaiter>): void {
    for (const waiter of [...whom]) waiter.heard();
  }
}

/** A decode rank's ends, by link. */
export class ReceivingWindows {
  readonly #segments = new Map<Link, SharedMemory>();

  /** Maps what a prefill worker offers, and tells it whether it could. @param obstacle why this rank cannot, if that is known */
  open({ epoch, segment: offered }: PeerFrameOf<"segment">, link: Link, obstacle: string | null = whyNotShared()): void {
    let problem = obstacle;
    if (this.#segments.has(link)) throw new LatentmeshError("protocol", "A prefill worker offers memory twice");
    if (offered === null || offered.bytes <= BEGIN) throw new LatentmeshError("protocol", "A prefill worker offers no memory");
    try {
      if (problem === null) this.#keep(link, SharedMemory.open(offered.path, offered.bytes, offered.key as Uint8Array<ArrayBuffer>));
    } catch (error) {
      if (error instanceof LatentmeshError && error.code === "protocol") throw error;
      problem = messageOf(error);
    }
    link.send({ kind: "mapped", epoch, problem: problem?.slice(0, 512) ?? null } satisfies PeerFrame);
  }

  /** The latents of a frame, wherever they lie; valid until the frame is answered. @throws {LatentmeshError} `protocol` if they cannot lie there */
  latentsOf({ at, byteLength }: PeerFrameOf<"latents">, payload: Uint8Array<ArrayBuffer>, link: Link): Uint8Array<ArrayBuffer> {
    if (at === undefined) return payload;
    const segment = this.#segments.get(link);
    if (payload.byteLength > 0 || segment === undefined || BEGIN + at + byteLength > segment.bytes) {
      throw new LatentmeshError("protocol", `There are no ${byteLength} bytes of latents at ${at} of shared memory`);
    }
    return new Uint8Array(segment.memory, BEGIN + at, byteLength);
  }

  #keep(link: Link, segment: SharedMemory): void {
    this.#segments.set(link, segment);
    void link.closed.then(() => {
      this.#segments.delete(link);
      segment.close();
    });
  }
}
