import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { EventReader, type RelayedEvent } from "../../../cluster/front/event_reader.ts";
import { LatentmeshError } from "../../../core/errors.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);
const described = (events: readonly RelayedEvent[]) => events.map(({ bytes, notes }) => ({ text: new TextDecoder().decode(bytes), notes }));

/** Reads a stream that is cut at these places. */
function read(bytes: Uint8Array<ArrayBuffer>, cuts: readonly number[] = []) {
  const reader = new EventReader();
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).toSorted((a, b) => a - b), bytes.length];
  const events = places.slice(1).flatMap((place, i) => reader.push(bytes.slice(places[i], place)));
  return { events: described(events), whole: reader.whole };
}

interface Line {
  readonly kind: "note" | "comment" | "field";
  readonly text: string;
}

const line: fc.Arbitrary<Line> = fc.oneof(
  fc.record({ kind: fc.constant("note" as const), text: fc.integer({ min: 0, max: 999 }).map((token) => `:tokens 0=${token}`) }),
  fc.record({ kind: fc.constant("comment" as const), text: fc.constantFrom(":", ": ping", ":keep-alive 5", "::") }),
  fc.record({ kind: fc.constant("field" as const), text: fc.constantFrom("data: {}", "data: ü😀", "event: ping", "data", "data: :x", "id: 5") }),
);

describe("events of a cell's stream", () => {
  it("are the same wherever the stream is cut, whatever lines end with, and wherever comments are", () => {
    const events = fc.array(fc.array(line, { minLength: 1, maxLength: 5 }), { maxLength: 6 });
    const ends = fc.array(fc.constantFrom("\n", "\r\n", "\r"), { minLength: 1, maxLength: 7 });
    fc.assert(
      fc.property(events, ends, fc.array(fc.nat(), { maxLength: 12 }), (events, ends, cuts) => {
        let lines = 0;
        // The line feed behind a return belongs to it: an empty line must not begin with one there.
        const uniform = (text: string) => `${text}${ends.some((end) => end === "\r") ? "\r" : ends[lines++ % ends.length]}`;
        const stream = events.map((event) => [...event.map(({ text }) => text), ""].map(uniform).join("")).join("");
        const expected = events.map((event) => {
          const fields = event.filter(({ kind }) => kind === "field").map(({ text }) => `${text}\n`).join("");
          const last = event.filter(({ kind }) => kind === "note").at(-1)?.text.slice(":tokens 0=".length);
          return { text: fields === "" ? "" : `${fields}\n`, notes: last === undefined ? {} : { tokens: [[0, [Number(last)]]] } };
        });
        assertEquals(JSON.stringify(read(bytesOf(stream), cuts)), JSON.stringify({ events: expected, whole: true }));
      }),
      { seed: 7, numRuns: 400 },
    );
  });

  it("are read from every byte alone", () => {
    const stream = bytesOf(`:seed 12\r\n:tokens 0=1,2 1=3\r\ndata: "ü"\r\n\r\ndata: 2\n\n:failed worker_lost\ndata: 3\n\n`);
    const alone = read(stream, Array.from(stream, (_, i) => i));
    assertEquals(alone, read(stream));
    assertEquals(alone.events, [
      { text: `data: "ü"\n\n`, notes: { seed: 12n, tokens: [[0, [1, 2]], [1, [3]]] } },
      { text: "data: 2\n\n", notes: {} },
      { text: "data: 3\n\n", notes: { failed: "worker_lost" } },
    ]);
  });

  it("tell that one is not complete", () => {
    assert(!read(bytesOf("data: 1\n\ndata: 2\n")).whole);
    assert(!read(bytesOf(":seed 1\n")).whole);
    assert(read(bytesOf("data: 1\n\n")).whole);
    assert(read(bytesOf("data: 1\r\r")).whole);
    assert(read(bytesOf("data: 1\r\n\r\n"), [10]).whole);
  });

  it("must have notes that can be read, and an end", () => {
    for (
      const note of ["seed", "seed x", "seed 1e3", `seed ${"9".repeat(50)}`, "tokens ", "tokens 0=", "tokens 0=1,", "tokens x=1", "tokens 5000=1"]
    ) {
      const push = () => new EventReader().push(bytesOf(`:${note}\ndata: 1\n\n`));
      if (note === "seed") assertEquals(described(push()), [{ text: "data: 1\n\n", notes: {} }]);
      else assertEquals(assertThrows(push, LatentmeshError).code, "protocol");
    }
    const reader = new EventReader(100);
    reader.push(bytesOf(`data: ${"x".repeat(90)}\n\n`));
    reader.push(bytesOf(`data: ${"x".repeat(90)}`));
    assertEquals(assertThrows(() => reader.push(bytesOf("xxxxx")), LatentmeshError).code, "protocol");
  });
});
