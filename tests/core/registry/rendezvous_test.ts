import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { hash32, LIGHT_LOAD, Rendezvous } from "../../../core/registry/rendezvous.ts";

const ids = (count: number) => Array.from({ length: count }, (_, i) => `cell-${i}`);
const idle = (count: number) => new Array<number>(count).fill(0);

describe("rendezvous of requests and cells", () => {
  it("gives a prefix to the same cell however cells are listed, and moves only what a lost cell had", () => {
    fc.assert(fc.property(fc.integer({ min: 2, max: 40 }), fc.integer(), fc.string(), (count, gone, prefix) => {
      const all = ids(count);
      const key = hash32(prefix);
      const winner = all[new Rendezvous(all, idle(count)).choose(key)!.cell];
      const reversed = all.toReversed();
      assertEquals(reversed[new Rendezvous(reversed, idle(count)).choose(key)!.cell], winner);
      const left = all.filter((_, i) => i !== Math.abs(gone) % count);
      const now = left[new Rendezvous(left, idle(count - 1)).choose(key)!.cell];
      if (left.includes(winner)) assertEquals(now, winner);
    }));
  });

  it("never lets a cell have more than the bound, counts what spills, and takes the idlest where there is no other", () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 12 }), fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 400 }), (count, prefixes) => {
      const table = new Rendezvous(ids(count), idle(count));
      const loads = idle(count);
      for (const prefix of prefixes) {
        const { bound } = table;
        const { cell, spilled } = table.choose(hash32(`prefix ${prefix}`))!;
        const alone = new Rendezvous(ids(count), idle(count)).choose(hash32(`prefix ${prefix}`))!.cell;
        assertEquals(spilled, cell !== alone);
        table.add(cell, 1);
        assert(++loads[cell] <= bound, `${loads[cell]} requests, of ${bound}`);
      }
    }));
    const full = new Rendezvous(ids(3), [1000, 100, 90]);
    const { cell } = full.choose(hash32("x"), (cell) => cell === 2)!;
    assertEquals(cell, 1);
    assertEquals(full.choose(hash32("x"), () => true), null);
    assertEquals(new Rendezvous([], []).choose(1), null);
  });

  it("spreads prefixes evenly, and does not move them for a light load", () => {
    const table = new Rendezvous(ids(3), [LIGHT_LOAD - 1, 0, 0]);
    const counts = idle(3);
    for (let prefix = 0; prefix < 3000; prefix++) {
      const { cell, spilled } = table.choose(hash32(`a prefix ${prefix}`))!;
      counts[cell]++;
      assert(!spilled, "nobody has much to do");
    }
    assert(Math.max(...counts) <= 1100, counts.join());
  });

  it("does not count below nothing", () => {
    const table = new Rendezvous(ids(4), idle(4));
    table.add(0, -5);
    assertEquals(table.bound, LIGHT_LOAD);
    table.add(0, LIGHT_LOAD);
    assertEquals([table.bound, table.hasRoom(0), table.hasRoom(1)], [LIGHT_LOAD, false, true]);
  });
});
