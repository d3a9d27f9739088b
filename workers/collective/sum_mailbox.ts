/**
 * Where a rank and its thread of sums give each other parts: memory that both see. For each lane of a step there are a request, with this rank's part behind it, and
 * a reply, with the others' parts or the sum.
 *
 * Who waits does so in the way that is left to it. The rank polls, or sleeps until it is woken, and needs no turn of its event loop either way. The thread needs
 * turns: sockets do. Between two requests it can spend them polling for the second one, since waking it takes longer than that.
 *
 * @module
 */
import { setImmediate } from "node:timers/promises";
import { roundUp } from "../../core/numeric.ts";
import { dtypeBytes } from "../../core/wire/messages.ts";
import { LINE_BYTES } from "./shared_layout.ts";

/** What both sides must agree on. */
export interface MailboxShape {
  readonly ranks: number;
  readonly lanes: number;
  /** Most values of one exchange. */
  readonly mostValues: number;
  readonly wire: "f32" | "f16";
}

/** What a reply brings. */
export type Outcome = "parts" | "sum" | "failed";

const OUTCOMES: readonly Outcome[] = ["parts", "sum", "failed"];
/** Lines before those of lanes: what was sent and received. */
const FIRST_LINES = 1;
/** Lines of a lane: request, reply. */
const LANE_LINES = 2;
/** Parts are viewed as floats, and memory is copied by whole lines. */
const ALIGNMENT = 4096;

/** One memory, seen from either side. */
export class SumMailbox {
  readonly memory: SharedArrayBuffer;
  readonly lanes: readonly MailboxLane[];
  /** Bytes sent and received. */
  readonly #traffic: Float64Array<SharedArrayBuffer>;

  /** @param memory the other side's; by default new */
  constructor(shape: MailboxShape, memory: SharedArrayBuffer = new SharedArrayBuffer(bytesOf(shape))) {
    this.memory = memory;
    this.#traffic = new Float64Array(memory, 0, 2);
    this.lanes = Array.from({ length: shape.lanes }, (_, lane) => new MailboxLane(memory, shape, lane));
  }

  /** Bytes that the thread has sent and received. */
  get traffic(): { readonly sent: number; readonly received: number } {
    const [sent, received] = this.#traffic;
    return { sent, received };
  }

  set traffic({ sent, received }: { readonly sent: number; readonly received: number }) {
    this.#traffic[0] = sent;
    this.#traffic[1] = received;
  }
}

/** Exchanges of one lane, one after the other. */
export class MailboxLane {
  readonly index: number;
  readonly #shape: MailboxShape;
  /** Number of the last request, its values, and of how many they are a piece. */
  readonly #request: Int32Array<SharedArrayBuffer>;
  /** Number of the last reply, and what it brings. */
  readonly #reply: Int32Array<SharedArrayBuffer>;
  readonly #memory: SharedArrayBuffer;
  readonly #ownAt: number;
  readonly #repliesAt: number;
  /** The last request of this side. */
  #turn = 0;

  constructor(memory: SharedArrayBuffer, shape: MailboxShape, index: number) {
    this.index = index;
    this.#shape = shape;
    this.#memory = memory;
    const line = FIRST_LINES + LANE_LINES * index;
    this.#request = new Int32Array(memory, line * LINE_BYTES, 3);
    this.#reply = new Int32Array(memory, (line + 1) * LINE_BYTES, 2);
    this.#ownAt = firstLaneAt(shape) + index * laneBytes(shape);
    this.#repliesAt = this.#ownAt + ownBytes(shape);
  }

  /** This rank's part of the next exchange. */
  own(values: number): Uint8Array<SharedArrayBuffer> {
    return new Uint8Array(this.#memory, this.#ownAt, values * dtypeBytes(this.#shape.wire));
  }

  /** Another rank's part, counted without this one. */
  part(other: number, values: number): Uint8Array<SharedArrayBuffer> {
    const bytes = values * dtypeBytes(this.#shape.wire);
    return new Uint8Array(this.#memory, this.#repliesAt + other * bytes, bytes);
  }

  /** The sum of all parts. */
  sum(values: number): Float32Array<SharedArrayBuffer> {
    return new Float32Array(this.#memory, this.#repliesAt, values);
  }

  /** Asks the thread to exchange {@link own}. */
  ask(values: number, whole: number): void {
    this.#turn = (this.#turn + 1) | 0;
    this.#request[1] = values;
    this.#request[2] = whole;
    Atomics.store(this.#request, 0, this.#turn);
    Atomics.notify(this.#request, 0);
  }

  /** What came of the last request; null: nothing yet. */
  get outcome(): Outcome | null {
    return Atomics.load(this.#reply, 0) === this.#turn ? OUTCOMES[this.#reply[1]] : null;
  }

  /** Sleeps until there may be an outcome. @param ms at most so long */
  sleep(ms: number): void {
    Atomics.wait(this.#reply, 0, (this.#turn - 1) | 0, ms);
  }

  /** Resolves when there may be an outcome, or somebody is woken. */
  async wait(): Promise<void> {
    const replied = Atomics.waitAsync(this.#reply, 0, (this.#turn - 1) | 0);
    if (replied.async) await replied.value;
  }

  /** Wakes whoever waits, although there is no reply. */
  wake(): void {
    Atomics.notify(this.#reply, 0);
  }

  /**
   * Calls `answer` for every request, in the thread's event loop, for ever.
   *
   * @param polling milliseconds after a reply in which every turn polls for the next request; other turns are few then
   */
  async serve(polling: number, answer: (values: number, whole: number) => Promise<void>): Promise<never> {
    let replied = -Infinity;
    while (true) {
      const turn = Atomics.load(this.#request, 0);
      if (turn !== this.#turn) {
        this.#turn = turn;
        await answer(this.#request[1], this.#request[2]);
        replied = performance.now();
      } else if (performance.now() - replied < polling) {
        await setImmediate();
      } else {
        const asked = Atomics.waitAsync(this.#request, 0, turn);
        if (asked.async) await asked.value;
      }
    }
  }

  /** Answers the last request. */
  reply(outcome: Outcome): void {
    this.#reply[1] = OUTCOMES.indexOf(outcome);
    Atomics.store(this.#reply, 0, this.#turn);
    Atomics.notify(this.#reply, 0);
  }
}

function firstLaneAt({ lanes }: MailboxShape): number {
  return roundUp((FIRST_LINES + LANE_LINES * lanes) * LINE_BYTES, ALIGNMENT);
}

function ownBytes({ mostValues, wire }: MailboxShape): number {
  return roundUp(mostValues * dtypeBytes(wire), ALIGNMENT);
}

function laneBytes(shape: MailboxShape): number {
  const { ranks, mostValues, wire } = shape;
  return ownBytes(shape) + roundUp(mostValues * Math.max((ranks - 1) * dtypeBytes(wire), 4), ALIGNMENT);
}

function bytesOf(shape: MailboxShape): number {
  return firstLaneAt(shape) + shape.lanes * laneBytes(shape);
}
