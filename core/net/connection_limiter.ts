/**
 * Who may stay connected: so many in all, so many of one address, and nobody who keeps others out by doing nothing. Decides and does no I/O; the clock is an
 * argument.
 *
 * @module
 */

/** How many connections there may be. */
export interface ConnectionLimits {
  readonly total: number;
  readonly perAddress: number;
}

/** Milliseconds between checks of deadlines: whoever owns a {@link ConnectionLimiter} calls {@link ConnectionLimiter.sweep} as often. */
export const SWEEP_INTERVAL = 500;

/** The place of one connection. */
export class ConnectionSlot {
  /** See {@link addressGroup}. */
  readonly group: string;
  /** When the connection is ended, in milliseconds on the limiter's clock. */
  deadline = Infinity;
  readonly #end: () => void;
  readonly #moved: (slot: ConnectionSlot) => void;
  #idle = true;

  constructor(group: string, end: () => void, moved: (slot: ConnectionSlot) => void) {
    this.group = group;
    this.#end = end;
    this.#moved = moved;
  }

  /** Whether nothing would be lost if it had to go. */
  get idle(): boolean {
    return this.#idle;
  }

  /** It waits for what the other side says next. */
  rest(deadline: number): void {
    this.#idle = true;
    this.deadline = deadline;
    this.#moved(this);
  }

  /** It does what the other side wants. */
  work(deadline: number = Infinity): void {
    this.#idle = false;
    this.deadline = deadline;
    this.#moved(this);
  }

  /** Ends the connection. */
  end(): void {
    this.#end();
  }
}

interface Group {
  count: number;
  /** Who has been idle longest comes first. */
  readonly idle: Set<ConnectionSlot>;
}

/** Counts connections. */
export class ConnectionLimiter {
  /** Connections that were turned away, or ended to make room. */
  turnedAway = 0;
  readonly #limits: ConnectionLimits;
  readonly #slots = new Set<ConnectionSlot>();
  /** Of all groups; who has been idle longest comes first. */
  readonly #idle = new Set<ConnectionSlot>();
  readonly #groups = new Map<string, Group>();

  constructor(limits: ConnectionLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#slots.size;
  }

  /**
   * Lets somebody in, if need be in the place of who has been idle longest.
   *
   * @param end ends the connection; {@link leave} must follow
   * @returns null where there is no room; the connection is not ended then
   */
  accept(address: string, end: () => void): ConnectionSlot | null {
    const name = addressGroup(address);
    if ((this.#groups.get(name)?.count ?? 0) >= this.#limits.perAddress && !this.#dismiss(this.#groups.get(name)!.idle)) return null;
    if (this.#slots.size >= this.#limits.total && !this.makeRoom()) return null;
    const group = this.#groups.get(name) ?? { count: 0, idle: new Set() };
    this.#groups.set(name, group);
    group.count++;
    const slot = new ConnectionSlot(name, end, (slot) => this.#sort(slot));
    this.#slots.add(slot);
    this.#sort(slot);
    return slot;
  }

  /** Ends the connection that has been idle longest; false if there is none. */
  makeRoom(): boolean {
    return this.#dismiss(this.#idle);
  }

  /** Somebody has gone. */
  leave(slot: ConnectionSlot): void {
    if (!this.#slots.delete(slot)) return;
    this.#idle.delete(slot);
    const group = this.#groups.get(slot.group)!;
    group.idle.delete(slot);
    if (--group.count === 0) this.#groups.delete(slot.group);
  }

  /** Ends connections whose time is up. */
  sweep(now: number): void {
    for (const slot of [...this.#slots]) if (slot.deadline <= now) this.#send(slot);
  }

  /** Ends all that are idle, or all. */
  close(which: "idle" | "all"): void {
    for (const slot of [...(which === "idle" ? this.#idle : this.#slots)]) this.#send(slot);
  }

  #sort(slot: ConnectionSlot): void {
    if (!this.#slots.has(slot)) return;
    for (const set of [this.#idle, this.#groups.get(slot.group)!.idle]) {
      set.delete(slot);
      if (slot.idle) set.add(slot);
    }
  }

  #dismiss(idle: ReadonlySet<ConnectionSlot>): boolean {
    this.turnedAway++;
    const [longest] = idle;
    if (longest === undefined) return false;
    this.#send(longest);
    return true;
  }

  #send(slot: ConnectionSlot): void {
    this.leave(slot);
    slot.end();
  }
}

/** What counts as one address: an IPv4 address, or the network of 64 bits that one IPv6 subscriber has. */
export function addressGroup(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  if (mapped !== null) return mapped[1];
  if (!address.includes(":")) return address;
  const [head, tail] = address.split("::");
  const [before, after] = [head, tail ?? ""].map((part) => part.split(":").filter((group) => group !== ""));
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length);
  return [...before, ...new Array<string>(zeros).fill("0"), ...after].slice(0, 4).join(":");
}
