/**
 * A cell's event stream as a front reads it (https://html.spec.whatwg.org/multipage/server-sent-events.html): events as they are, and notes beside them, see
 * `cluster/http/relay/relayed_request.ts`. However a stream is cut into pieces, and whatever its lines end with, the same events come of it.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";
import { MOST_STREAMED_CHOICES } from "../api/continuation_schema.ts";
import { joined } from "../http/json.ts";

/** What a cell noted before an event. */
export interface EventNotes {
  readonly seed?: bigint;
  /** Tokens, by choice. */
  readonly tokens?: readonly (readonly [choice: number, tokens: readonly number[]])[];
  /** The engine's error that the event tells of. */
  readonly failed?: string;
}

/** One event. */
export interface RelayedEvent {
  /** Its lines without comments, and an empty one; nothing where there were comments only. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly notes: EventNotes;
}

/** An event that is longer is none. */
const MOST_BYTES = 64 << 20;
const LEAST_ROOM = 4096;
const MOST_KEPT = 1 << 16;
const [LINE_FEED, RETURN, COLON] = [10, 13, 58];
const NOTHING: EventNotes = {};
const DECODER = new TextDecoder();

/** Takes event streams apart. */
export class EventReader {
  /** What of an event has come. */
  #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(LEAST_ROOM);
  #filled = 0;
  /** Where its line begins that is not complete, and how far that has been searched for its end. */
  #line = 0;
  #searched = 0;
  /** Whether a line has ended with a return, whose line feed may be still to come. */
  #returned = false;
  /** Whether there are returns, or comments behind fields: rare, and then the event is put together anew. */
  #odd = false;
  readonly #mostBytes: number;

  /** @param mostBytes of one event */
  constructor(mostBytes = MOST_BYTES) {
    this.#mostBytes = mostBytes;
  }

  /** Whether nothing of an event has come whose end is missing. */
  get whole(): boolean {
    return this.#filled === 0;
  }

  /** The events that are complete with these bytes. @throws {LatentmeshError} `protocol` if it is no event stream of a cell */
  push(bytes: Uint8Array<ArrayBuffer>): RelayedEvent[] {
    const events: RelayedEvent[] = [];
    // Mostly whole events come, which need not be copied.
    const direct = this.#filled === 0;
    if (!direct) this.#append(bytes);
    const all = direct ? bytes : this.#buffer.subarray(0, this.#filled);
    let begin = 0;
    let nextReturn = all.indexOf(RETURN, this.#searched);
    for (let at = this.#searched; at < all.length;) {
      if (this.#returned) {
        this.#returned = false;
        if (all[at] === LINE_FEED) {
          // Of an event that has been complete with the return, it is left out.
          if (begin === at) begin++;
          this.#line = ++at;
          continue;
        }
      }
      if (nextReturn >= 0 && nextReturn < at) nextReturn = all.indexOf(RETURN, at);
      const nextFeed = all.indexOf(LINE_FEED, at);
      const end = nextReturn >= 0 && (nextFeed < 0 || nextReturn < nextFeed) ? nextReturn : nextFeed;
      if (end < 0) break;
      if (end === nextReturn) this.#odd = this.#returned = true;
      const empty = end === this.#line;
      this.#line = at = end + 1;
      if (!empty) continue;
      events.push(this.#eventOf(direct ? all.subarray(begin, at) : all.slice(begin, at)));
      begin = at;
      this.#odd = this.#returned;
    }
    if (direct) this.#append(bytes.subarray(begin));
    this.#keep(direct ? 0 : begin, begin);
    if (this.#filled > this.#mostBytes) throw new LatentmeshError("protocol", `A cell sent an event of more than ${this.#mostBytes} bytes`);
    return events;
  }

  #append(bytes: Uint8Array<ArrayBuffer>): void {
    const needed = this.#filled + bytes.length;
    if (needed > this.#buffer.length) {
      // Twice as much as before, so that a long event is not copied again with each of its pieces.
      const grown = new Uint8Array(Math.max(needed, 2 * this.#buffer.length));
      grown.set(this.#buffer.subarray(0, this.#filled));
      this.#buffer = grown;
    }
    this.#buffer.set(bytes, this.#filled);
    this.#filled = needed;
  }

  /** @param begin of what is kept, in the buffer, and in what was searched */
  #keep(begin: number, searched: number): void {
    if (begin > 0) this.#buffer.copyWithin(0, begin, this.#filled);
    this.#filled -= begin;
    this.#line -= searched;
    this.#searched = this.#filled;
    // One long event takes no memory from then on.
    if (this.#filled === 0 && this.#buffer.length > MOST_KEPT) this.#buffer = new Uint8Array(LEAST_ROOM);
  }

  #eventOf(block: Uint8Array<ArrayBuffer>): RelayedEvent {
    if (this.#odd) return fromLines(DECODER.decode(block).split(/\r\n|\r|\n/));
    let begin = 0;
    let notes: EventNotes = NOTHING;
    while (block[begin] === COLON) {
      const end = block.indexOf(LINE_FEED, begin);
      notes = { ...notes, ...noteOf(DECODER.decode(block.subarray(begin + 1, end))) };
      begin = end + 1;
    }
    if (begin === block.length - 1) return { bytes: block.subarray(block.length), notes };
    // Behind the first line, that is rare: most events have one.
    return hasLaterComment(block, begin) ? fromLines(DECODER.decode(block).split("\n")) : { bytes: block.subarray(begin), notes };
  }
}

function hasLaterComment(block: Uint8Array<ArrayBuffer>, begin: number): boolean {
  for (let at = block.indexOf(LINE_FEED, begin); at >= 0; at = block.indexOf(LINE_FEED, at + 1)) if (block[at + 1] === COLON) return true;
  return false;
}

function fromLines(lines: readonly string[]): RelayedEvent {
  const fields = lines.filter((line) => line !== "" && !line.startsWith(":"));
  const notes = lines.filter((line) => line.startsWith(":")).reduce<EventNotes>((all, line) => ({ ...all, ...noteOf(line.slice(1)) }), NOTHING);
  return { bytes: fields.length === 0 ? new Uint8Array() : joined([...fields.map((line) => `${line}\n`), "\n"]), notes };
}

/** What is not understood is a comment. @throws {LatentmeshError} `protocol` if it is a note that cannot be read */
function noteOf(line: string): EventNotes {
  const space = line.indexOf(" ");
  const value = line.slice(space + 1);
  switch (line.slice(0, Math.max(0, space))) {
    case "seed":
      if (!/^-?\d{1,40}$/.test(value)) throw unreadable(line);
      return { seed: BigInt(value) };
    case "tokens":
      return {
        tokens: value.split(" ").map((choice) => {
          const match = /^(\d{1,4})=(\d{1,9}(?:,\d{1,9})*)$/.exec(choice);
          if (match === null || Number(match[1]) >= MOST_STREAMED_CHOICES) throw unreadable(line);
          return [Number(match[1]), match[2].split(",").map(Number)] as const;
        }),
      };
    case "failed":
      return { failed: value };
    default:
      return NOTHING;
  }
}

function unreadable(line: string): LatentmeshError {
  return new LatentmeshError("protocol", `A cell sent a note that cannot be read: "${line.slice(0, 64)}"`);
}
