/**
 * Requests that the scheduler gives up: those with which units are lost again and again.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { Random } from "../../../bench/support/random.ts";
import { Simulation } from "./simulation.ts";

const OPTIONS = {
  blockTokens: 4,
  decodeBlockTokens: 4,
  chunkTokens: 6,
  maxBatch: 6,
  stepRows: 8,
  maxWaiting: 40,
  maxWaitingPerClient: 40,
  maxPrompts: 3,
  maxLosses: 3,
  prefillBlocks: 40,
  decodeBlocks: 16,
};

const ROLES = { prefillUnits: { prefillUnits: 1, decodeGroups: 1 }, mixedUnits: { prefillUnits: 0, decodeGroups: 0, mixedUnits: 1 } };

describe("a sequence that the scheduler gives up", () => {
  it("is one with which too many units were lost, and none that only gave way to others", () => {
    for (const numbers of Object.values(ROLES)) {
      const simulation = new Simulation({ ...OPTIONS, ...numbers }, new Random(1));
      const { scheduler } = simulation;
      const low = simulation.arrive(Array.from({ length: 40 }, (_, i) => i), 8, "a", 5);
      for (let arrived = 0; arrived < 60 || scheduler.active > 0;) {
        if (arrived < 60 && scheduler.active < 3) simulation.arrive([1000 + arrived++, 1, 2], 30, "a", -1);
        simulation.start();
        assertEquals(scheduler.exhausted(), [], `${scheduler.counters.preemptions} preemptions`);
        simulation.settle();
      }
      assert(scheduler.counters.preemptions > 3 && simulation.finished.includes(low));
      const unlucky = simulation.arrive([1, 2, 3], 3, "a");
      for (let losses = 0; losses < 3; losses++) {
        simulation.start();
        assertEquals(scheduler.exhausted(), [], `${losses} losses`);
        const { name } = unlucky.placement!.decode!;
        simulation.down(name);
        simulation.up(name, false);
        simulation.settle();
      }
      assertEquals(scheduler.exhausted(), [unlucky]);
    }
  });
});
