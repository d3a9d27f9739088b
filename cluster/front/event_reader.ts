/**
 * A cell's event stream as a front reads it: events as they are, and notes beside them, see `cluster/http/relay/relayed_request.ts`.
 *
 * @module
 */
import { LatentmeshError } from "../../core/errors.ts";

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
  /** Its bytes without notes, empty line included. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly notes: EventNotes;
}

/** An event that is longer is none. */
const MOST_BYTES = 64 << 20;
const LINE = 10;
const COLON = 58;
const NOTHING: EventNotes = {};

/** Takes event streams apart. */
export class EventReader {
  #rest = new Uint8Array();
  #searched = 0;

  /** The events that are complete with these bytes. @throws {LatentmeshError} `protocol` if it is no event stream of a cell */
  push(bytes: Uint8Array<ArrayBuffer>): RelayedEvent[] {
    const all = this.#rest.length === 0 ? bytes : joined(this.#rest, bytes);
    const events: RelayedEvent[] = [];
    let begin = 0;
    let from = this.#searched;
    for (let line = all.indexOf(LINE, from); line >= 0; line = all.indexOf(LINE, from)) {
      from = line + 1;
      if (all[line + 1] !== LINE) continue;
      from = line + 2;
      events.push(eventOf(all.subarray(begin, from)));
      begin = from;
    }
    this.#rest = all.subarray(begin);
    // An end may be cut in half.
    this.#searched = Math.max(0, this.#rest.length - 1);
    if (this.#rest.length > MOST_BYTES) throw new LatentmeshError("protocol", "A cell sent an event without end");
    return events;
  }
}

function eventOf(block: Uint8Array<ArrayBuffer>): RelayedEvent {
  let begin = 0;
  let notes: EventNotes = NOTHING;
  while (block[begin] === COLON) {
    const end = block.indexOf(LINE, begin);
    notes = { ...notes, ...noteOf(new TextDecoder().decode(block.subarray(begin + 1, end))) };
    begin = end + 1;
  }
  return { bytes: block.subarray(begin), notes };
}

/** What is not understood is a comment. */
function noteOf(line: string): EventNotes {
  const space = line.indexOf(" ");
  const value = line.slice(space + 1);
  switch (line.slice(0, Math.max(0, space))) {
    case "seed":
      return { seed: BigInt(value) };
    case "tokens":
      return {
        tokens: value.split(" ").map((choice) => {
          const [index, tokens] = choice.split("=");
          return [Number(index), tokens.split(",").map(Number)] as const;
        }),
      };
    case "failed":
      return { failed: value };
    default:
      return NOTHING;
  }
}

function joined(first: Uint8Array<ArrayBuffer>, second: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}
