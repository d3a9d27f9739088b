import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { acceptConnections } from "../../../core/net/accept.ts";
import { addressGroup, ConnectionLimiter, type ConnectionSlot } from "../../../core/net/connection_limiter.ts";
import { SEED } from "../../../bench/support/random.ts";

/** A door at which ended connections are noted. */
function door(limits: { total: number; perAddress: number }) {
  const keeper = new ConnectionLimiter(limits);
  const ended: string[] = [];
  return { keeper, ended, accept: (name: string, address = name) => keeper.accept(address, () => ended.push(name)) };
}

describe("the connection limiter", () => {
  it("makes room by ending who has been idle longest, and turns away where all are busy", () => {
    const { keeper, ended, accept } = door({ total: 3, perAddress: 9 });
    const [a, b] = [accept("a")!, accept("b")!, accept("c")!];
    a.work();
    b.rest(Infinity);
    accept("d");
    assertEquals(ended, ["c"]);
    b.work();
    accept("e")!.work();
    assertEquals(ended, ["c", "d"]);
    assertEquals(accept("f"), null);
    assertEquals([keeper.size, keeper.turnedAway], [3, 3]);
    keeper.leave(a);
    accept("g");
    assertEquals(keeper.size, 3);
  });

  it("lets no address have more than its share, and ends its own connections first", () => {
    const { ended, accept } = door({ total: 10, perAddress: 2 });
    accept("quiet", "10.0.0.1");
    accept("one", "10.0.0.2");
    const two = accept("two", "10.0.0.2")!;
    accept("three", "10.0.0.2")!.work();
    assertEquals(ended, ["one"]);
    two.work();
    assertEquals(accept("four", "10.0.0.2"), null);
    assertEquals(ended, ["one"]);
  });

  it("counts networks of IPv6 as one, and addresses of IPv4 whichever way they are written", () => {
    assertEquals(addressGroup("::ffff:192.0.2.1"), addressGroup("192.0.2.1"));
    assertEquals(addressGroup("2001:db8:1:2:aaaa::1"), addressGroup("2001:db8:1:2::ffff:3"));
    assertEquals(addressGroup("2001:db8:1:2::1") === addressGroup("2001:db8:1:3::1"), false);
    assertEquals(addressGroup("2001:db8::1"), addressGroup("2001:db8:0:0:1:2:3:4"));
    assertEquals(addressGroup("::1"), "0:0:0:0");
  });

  it("ends connections whose time is up", () => {
    const { keeper, ended, accept } = door({ total: 3, perAddress: 3 });
    accept("a")!.rest(10);
    accept("b")!.work(20);
    accept("c")!.work();
    keeper.sweep(9);
    assertEquals(ended, []);
    keeper.sweep(10);
    assertEquals(ended, ["a"]);
    keeper.sweep(1e9);
    assertEquals(ended, ["a", "b"]);
    keeper.close("all");
    assertEquals([ended, keeper.size], [["a", "b", "c"], 0]);
  });

  it("never counts wrong, whatever slots do", () => {
    const action = fc.tuple(fc.constantFrom("accept", "work", "rest", "leave", "sweep"), fc.nat(4), fc.nat(100));
    fc.assert(
      fc.property(fc.array(action, { maxLength: 200 }), (actions) => {
        const there = new Map<ConnectionSlot, string>();
        const keeper = new ConnectionLimiter({ total: 5, perAddress: 3 });
        for (const [what, who, when] of actions) {
          const slot = [...there.keys()][who];
          if (what === "sweep") keeper.sweep(when);
          else if (what === "accept") {
            const accepted = keeper.accept(`a${who}`, () => there.delete(accepted!));
            if (accepted !== null) there.set(accepted, `a${who}`);
          } else if (slot !== undefined) {
            if (what === "work") slot.work(when);
            if (what === "rest") slot.rest(when);
            if (what === "leave") {
              keeper.leave(slot);
              there.delete(slot);
            }
          }
          assertEquals(keeper.size, there.size);
          assertEquals(there.size <= 5, true);
          for (const address of new Set(there.values())) assertEquals([...there.values()].filter((other) => other === address).length <= 3, true);
        }
      }),
      { seed: SEED },
    );
  });
});

describe("an accept loop", () => {
  it("goes on after whatever accepting ends in, and ends when it is told to", async () => {
    const closing = new AbortController();
    const outcomes: (number | Error)[] = [1, new Error("Too many open files"), new Error("Connection aborted"), 2];
    const seen: unknown[] = [];
    const accept = () => {
      const next = outcomes.shift();
      if (next === undefined) closing.abort();
      return next instanceof Error ? Promise.reject(next) : Promise.resolve(next ?? 3);
    };
    await acceptConnections({ accept }, closing.signal, (connection) => seen.push(connection), (error) => seen.push((error as Error).message));
    assertEquals(seen, [1, "Too many open files", "Connection aborted", 2, 3]);
  });
});
