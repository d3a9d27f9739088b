import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { OTHERS_SHARE, WayGiver } from "../../../workers/local/way_giver.ts";

describe("work on the thread of the event loop", () => {
  /** A clock of milliseconds, of which a turn takes a 64th. */
  function clock() {
    const counted = { turns: 0, ms: 0 };
    const giver = new WayGiver({
      turn: () => {
        counted.turns++;
        counted.ms += 1 / 64;
        return Promise.resolve();
      },
      now: () => counted.ms,
    });
    const work = (ms: number) =>
      giver.run(() => {
        counted.ms += ms;
        return Promise.resolve(ms);
      });
    const turns = async () => {
      const before = counted.turns;
      await giver.giveWay();
      return counted.turns - before;
    };
    return { giver, work, turns };
  }

  it("gives others one turn, and more the longer it has taken: enough for an exchange with a server between steps of a fifth of a second", async () => {
    const { work, turns } = clock();
    assertEquals(await turns(), 1);
    assertEquals(await work(1), 1);
    assertEquals(await turns(), 1);
    await work(200);
    assertEquals(await turns(), 200 * OTHERS_SHARE * 64);
  });

  it("owes them for work that fails, too, and for the last piece alone", async () => {
    const { giver, work, turns } = clock();
    await work(1000);
    await assertRejects(() => giver.run(() => work(100).then(() => Promise.reject(new Error("no")))), Error, "no");
    assertEquals(await turns(), 64);
    await work(0);
    assertEquals(await turns(), 1);
  });
});
