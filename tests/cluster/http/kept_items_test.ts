import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { SEED } from "../../../bench/support/random.ts";
import { HttpError } from "../../../cluster/api/errors.ts";
import { KeptItems } from "../../../cluster/http/kept_items.ts";

/** An item of 324 to 328 bytes, with what it takes besides. */
const item = (id: string) => ({ id, text: "x".repeat(80 - id.length) });

describe("items of responses", () => {
  const known = (items: KeptItems, client: string, ids: readonly string[]) =>
    ids.filter((id) => {
      try {
        return items.find(client, [id])[id] === JSON.stringify(item(id));
      } catch {
        return false;
      }
    });

  it("are kept for their client, the newest as long as there is room", () => {
    const items = new KeptItems({ mostBytes: 1600, mostOfClient: 800 });
    items.keep("a", ["a1", "a2"].map(item));
    items.keep("a", [item("a3")]);
    assertEquals(known(items, "a", ["a1", "a2", "a3"]), ["a2", "a3"]);
    assertEquals(known(items, "b", ["a3"]), []);
    const error = assertThrows(() => items.find("a", ["a1"]), HttpError);
    assertEquals([error.status, error.fields.param], [404, "input"]);
  });

  it("go, where all is taken, with the client that was heard of longest ago", () => {
    const items = new KeptItems({ mostBytes: 1600, mostOfClient: 800 });
    for (const client of ["a", "b", "c"]) items.keep(client, [1, 2].map((i) => item(`${client}${i}`)));
    assertEquals([known(items, "a", ["a1", "a2"]), known(items, "b", ["b1", "b2"]), known(items, "c", ["c1", "c2"])], [[], ["b1", "b2"], [
      "c1",
      "c2",
    ]]);
    items.keep("b", [item("b3")]);
    items.keep("d", [item("d1")]);
    assertEquals([known(items, "b", ["b2", "b3"]), known(items, "c", ["c1", "c2"])], [["b2", "b3"], ["c2"]]);
  });

  it("are not kept where one is larger than all there is for a client", () => {
    const items = new KeptItems({ mostBytes: 1000, mostOfClient: 100 });
    items.keep("a", [item("a1")]);
    assertEquals(known(items, "a", ["a1"]), []);
  });

  it("push out nothing where they cannot be kept themselves, and count once under one name", () => {
    const items = new KeptItems({ mostBytes: 1600, mostOfClient: 800 });
    items.keep("a", [item("a1")]);
    const { bytes } = items;
    const large = { id: "a2", text: "x".repeat(1000) };
    items.keep("a", [large]);
    assertEquals(known(items, "a", ["a1", "a2"]), ["a1"]);
    for (let i = 0; i < 9; i++) items.keep("a", [item("a1")]);
    assertEquals([known(items, "a", ["a1"]), items.bytes], [["a1"], bytes]);
  });

  it("go after a while, also of clients that do not come back", () => {
    let now = 0;
    const items = new KeptItems({ longest: 100, now: () => now });
    items.keep("a", [item("a1")]);
    items.keep("b", [item("b1")]);
    now = 60;
    items.keep("a", [item("a2")]);
    now = 101;
    assertEquals(known(items, "a", ["a1", "a2"]), ["a2"]);
    const one = items.bytes;
    items.keep("c", [item("c1")]);
    assertEquals(items.bytes, 2 * one, "nothing of b is left");
    now = 1000;
    assertEquals([known(items, "c", ["c1"]), items.bytes], [[], 0]);
  });

  it("never take more than they may, and are one client's, whatever is kept and asked for", () => {
    const client = fc.constantFrom("a", "b", "c");
    const step = fc.record({ client, name: fc.nat(9), size: fc.nat(600), wait: fc.nat(40) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let now = 0;
        const items = new KeptItems({ mostBytes: 3000, mostOfClient: 1500, longest: 100, now: () => now });
        /** What was kept under each name, and when. */
        const kept = new Map<string, { readonly json: string; readonly at: number }[]>();
        for (const { client, name, size, wait } of steps) {
          now += wait;
          const one = { id: `i${name}`, of: client, text: "x".repeat(size) };
          items.keep(client, [one]);
          const all = kept.get(client + one.id) ?? [];
          kept.set(client + one.id, [...all, { json: JSON.stringify(one), at: now }]);
          assertEquals(items.bytes <= 3000, true);
          for (const asked of ["a", "b", "c"]) {
            for (let i = 0; i < 10; i++) {
              const id = `i${i}`;
              let found: string | null = null;
              try {
                found = items.find(asked, [id])[id];
              } catch {
                // It is not kept any more.
              }
              if (found === null) continue;
              const recent = (kept.get(asked + id) ?? []).filter(({ at }) => now - at <= 100);
              assert(recent.some(({ json }) => json === found), `${asked} found ${found}`);
            }
          }
        }
      }),
      { seed: SEED, numRuns: 100 },
    );
  });
});
