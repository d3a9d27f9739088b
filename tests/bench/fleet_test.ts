import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { measureOverhead } from "../../bench/fleet/overhead.ts";
import { simulate } from "../../bench/fleet/simulate.ts";

const SMALL = { cells: 5, fronts: 2, prefixes: 100, cached: 32, load: 24, requests: 2000 };

describe("the bench of fronts", () => {
  it("simulates the same each time, in which fronts find prefixes and chance does not", () => {
    const [front, again, random] = (["front", "front", "random"] as const).map((policy) => simulate({ ...SMALL, policy }));
    assertEquals([again.hitRate, again.spread, again.registryBytes], [front.hitRate, front.spread, front.registryBytes]);
    assert(front.hitRate > random.hitRate && front.hitRate < 1, `${front.hitRate} and ${random.hitRate}`);
    assert(front.spread >= 1 && random.spread >= 1);
    assertEquals(front.decisions.length, SMALL.requests);
    assertThrows(() => simulate({ ...SMALL, requests: 10, policy: "front" }), Error, "give it more");
  });

  it("measures streams that come whole, whoever they come through", async () => {
    const times = await measureOverhead(1);
    for (const some of Object.values(times)) {
      assertEquals(some.length, 1);
      assert(some.every(({ first }) => first > 0));
    }
  });
});
