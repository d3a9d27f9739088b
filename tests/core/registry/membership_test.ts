import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { cellRecord } from "../../../bench/support/cell_records.ts";
import { type CellRecord, readRecord, writeRecord } from "../../../core/registry/cell_record.ts";
import { fingerprintOf } from "../../../core/registry/fingerprint.ts";
import { Membership, supersedes } from "../../../core/registry/membership.ts";

const RECORD = cellRecord();

const texts = (...records: Partial<CellRecord>[]) =>
  new Map(records.map((record, i) => [record.id ?? `place ${i}`, writeRecord({ ...RECORD, ...record })]));

describe("records of cells", () => {
  it("are read as they were written, with what is new in them overlooked", () => {
    assertEquals(readRecord(writeRecord(RECORD)), { record: RECORD });
    assertEquals(readRecord(JSON.stringify({ ...RECORD, colour: "red", load: { ...RECORD.load, sleeping: 1 } })), { record: RECORD });
  });

  it("are refused with a reason if they are of a newer protocol, or none", () => {
    const problem = (text: string) => (readRecord(text) as { problem: string }).problem;
    assertEquals(problem(JSON.stringify({ protocol: 9, whatever: 1 })), "it is of protocol 9, and this program reads 1 at most; update it");
    assert(problem("{").startsWith("it is not JSON"));
    assert(problem("null").length > 0);
    const wrong = [["id", "../x"], ["url", "ftp://x"], ["url", "x"], ["state", "asleep"], ["beat", -1], ["incarnation", 0], ["load", {}]] as const;
    for (const [field, value] of wrong) assert(problem(JSON.stringify({ ...RECORD, [field]: value })).startsWith(field), field);
  });
});

describe("membership of cells", () => {
  it("is told by records that change, on the reader's clock alone", () => {
    const cells = new Membership({ ttl: 5000 });
    // Whatever time it is: clocks of hosts that jump by minutes are asked by nobody.
    for (const start of [0, 1e12]) {
      assert(cells.see(texts({ id: "a", incarnation: start + 1 }), start));
      assertEquals(cells.live.map(({ id }) => id), ["a"]);
      assert(!cells.see(texts({ id: "a", incarnation: start + 1 }), start + 4999), "nothing has changed");
      assert(cells.see(texts({ id: "a", incarnation: start + 1, beat: 1 }), start + 4999));
      assert(!cells.see(texts({ id: "a", incarnation: start + 1, beat: 1 }), start + 9998));
      assert(cells.see(texts({ id: "a", incarnation: start + 1, beat: 1 }), start + 9999), "it has been silent for five seconds");
      assertEquals(cells.live, []);
      assert(!cells.see(texts({ id: "a", incarnation: start + 1, beat: 1 }), start + 20_000), "what is left of a dead cell does not come to life");
    }
  });

  it("ignores what an older incarnation says, and of two of the same believes one", () => {
    const cells = new Membership();
    cells.see(texts({ incarnation: 2, url: "http://new:1", beat: 0 }), 0);
    cells.see(texts({ incarnation: 1, url: "http://old:1", beat: 99 }), 1);
    assertEquals(cells.live[0].url, "http://new:1");
    cells.see(texts({ incarnation: 2, instance: "second", url: "http://twin:1" }), 2);
    cells.see(texts({ incarnation: 2, instance: "first", url: "http://new:1", beat: 5 }), 3);
    assertEquals(cells.live.map(({ url }) => url), ["http://twin:1"]);
    assert(supersedes({ ...RECORD, instance: "second" }, RECORD));
    assert(supersedes({ ...RECORD, incarnation: 2, instance: "a" }, RECORD));
    assert(!supersedes(RECORD, RECORD));
    assert(!supersedes({ ...RECORD, incarnation: 1, instance: "z" }, { incarnation: 2, instance: "a" }));
  });

  it("keeps the last list while nothing can be read, and while a registry that has lost everything is filled again", () => {
    const cells = new Membership({ ttl: 5000 });
    cells.see(texts({ id: "a" }, { id: "b" }), 0);
    for (let now = 1000; now <= 60_000; now += 1000) cells.blind(now);
    assert(!cells.see(new Map(), 60_001), "an empty registry is no news yet");
    assertEquals(cells.live.length, 2);
    cells.see(texts({ id: "a", beat: 7 }), 64_000);
    assert(cells.see(texts({ id: "a", beat: 8 }), 65_000), "b has not come back");
    assertEquals(cells.live.map(({ id }) => id), ["a"]);
  });

  it("lets go at once of a cell that has said that it ends", () => {
    const cells = new Membership();
    cells.see(texts({ id: "a" }), 0);
    cells.see(texts({ id: "a", beat: 1, state: "draining" }), 1);
    cells.see(new Map(), 2);
    assertEquals(cells.live, []);
  });

  it("keeps a cell whose record cannot be read for a while, tells of it once, and reads the others", () => {
    const problems: string[] = [];
    const cells = new Membership({ ttl: 5000, onProblem: (place, problem) => problems.push(`${place}: ${problem}`) });
    cells.see(texts({ id: "a" }, { id: "b" }), 0);
    for (let now = 1000; now <= 20_000; now += 1000) {
      cells.see(new Map<string, string | Error>([...texts({ id: "a", beat: now }), ["b", new Error("stale file handle")]]), now);
      assertEquals(cells.live.map(({ id }) => id).toSorted(), ["a", "b"]);
    }
    assertEquals(problems, ["b: it cannot be read: stale file handle"]);
    assert(cells.see(texts({ id: "a", beat: 21_000 }, { id: "b" }), 25_000), "it has not beaten all the time");
    assertEquals(cells.live.map(({ id }) => id), ["a"]);
  });

  it("takes in a process that a registry counts from the beginning, which has lost everything, once the cell of its name is gone", () => {
    for (const before of [{ incarnation: 7, instance: "before" }, { incarnation: 1, instance: "z" }]) {
      const cells = new Membership({ ttl: 5000 });
      cells.see(texts({ id: "a", beat: 90, url: "http://before:1", ...before }), 0);
      const urls = (now: number, beat: number) => {
        cells.see(texts({ id: "a", beat, url: "http://now:1" }), now);
        return cells.live.map(({ url }) => url);
      };
      assertEquals(urls(1000, 0), ["http://before:1"]);
      assertEquals(urls(6000, 0), [], "it stands still, as what is left of a dead cell does");
      assertEquals(urls(60_000, 0), []);
      assertEquals(urls(61_000, 1), ["http://now:1"]);
      assertEquals(urls(62_000, 2), ["http://now:1"]);
    }
  });

  it("tells once of each record that cannot be used, and goes on with the others", () => {
    const problems: string[] = [];
    const cells = new Membership({ onProblem: (place, problem) => problems.push(`${place}: ${problem}`) });
    const all = new Map([...texts({ id: "a" }), ["newer", JSON.stringify({ protocol: 2 })]]);
    for (const now of [0, 1, 2]) cells.see(all, now);
    assertEquals(cells.live.map(({ id }) => id), ["a"]);
    assertEquals(problems, ["newer: it is of protocol 2, and this program reads 1 at most; update it"]);
    cells.see(texts({ id: "a" }), 3);
    cells.see(all, 4);
    assertEquals(problems.length, 2);
  });
});

describe("fingerprints of cells", () => {
  it("are equal for equal arithmetic, in whatever order, and differ for any other", async () => {
    const arithmetic = {
      version: "1",
      weights: "w",
      basis: null,
      formats: { weights: "keep", latents: "f32" },
      cuts: { decode: { ranks: 2 } },
      maxContext: 1024,
      devices: { decode: ["wasm"] },
      maxBatch: 64,
    };
    const own = await fingerprintOf(arithmetic);
    assertEquals(await fingerprintOf({ ...arithmetic, formats: { latents: "f32", weights: "keep" } }), own);
    const others = [
      { version: "2" },
      { weights: "v" },
      { basis: "b" },
      { formats: { weights: "q4", latents: "f32" } },
      { cuts: { decode: { ranks: 4 } } },
      { maxContext: 1023 },
      { devices: { decode: ["wasm without fused multiplication"] } },
      { maxBatch: 4 },
    ];
    const all = await Promise.all(others.map((other) => fingerprintOf({ ...arithmetic, ...other })));
    assertEquals(new Set([own, ...all]).size, others.length + 1);
  });
});
