import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { mapLimited } from "../../core/limited.ts";
import { together } from "../../core/together.ts";

describe("mapLimited", () => {
  it("does so many at a time, and gives results in the order of items", async () => {
    let [running, most] = [0, 0];
    const work = async (item: number) => {
      most = Math.max(most, ++running);
      for (let turn = 0; turn < 10 - item; turn++) await Promise.resolve();
      running--;
      return item * 2;
    };
    assertEquals(await mapLimited([0, 1, 2, 3, 4, 5, 6], 3, work), [0, 2, 4, 6, 8, 10, 12]);
    assertEquals(most, 3);
    assertEquals(await mapLimited([], 3, work), []);
  });

  it("begins nothing more after a failure, and fails when what has begun has ended", async () => {
    const ended: number[] = [];
    const work = async (item: number) => {
      if (item === 1) throw new Error("one");
      for (let turn = 0; turn < 10; turn++) await Promise.resolve();
      ended.push(item);
    };
    await assertRejects(() => mapLimited([0, 1, 2, 3, 4, 5], 2, work), Error, "one");
    assertEquals(ended, [0]);
  });
});

describe("together", () => {
  it("gives all results, or the first failure when all have ended", async () => {
    assertEquals(await together([Promise.resolve(1), Promise.resolve("a")]), [1, "a"]);
    let slow = false;
    const later = async () => {
      for (let turn = 0; turn < 10; turn++) await Promise.resolve();
      slow = true;
    };
    await assertRejects(() => together([later(), Promise.reject(new Error("first"))]), Error, "first");
    assertEquals(slow, true);
  });
});
