import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { OTHERS_SHARE, WayGiver } from "../../../workers/local/way_giver.ts";

describe("work on the thread of the event loop", () => {
  /** A clock of milliseconds, on which turns that wait take one. */
  function clock() {
    const counted = { next: 0, waiting: 0, ms: 0 };
    const giver = new WayGiver({
      next: () => Promise.resolve(counted.next++),
      waiting: () => Promise.resolve(counted.ms += 1).then(() => counted.waiting++),
      now: () => counted.ms,
    });
    const work = (ms: number) => giver.run(() => Promise.resolve(counted.ms += ms));
    return { counted, giver, work };
  }

  it("gives others a turn before each piece, and their share of the time in turns in which sockets are looked at", async () => {
    const { counted, work } = clock();
    for (let i = 0; i < 1000; i++) await work(2);
    assert(Math.abs(counted.waiting - 2000 * OTHERS_SHARE) <= 1, `${counted.waiting}`);
    assertEquals(counted.next + counted.waiting, 1000);
  });

  it("lets sockets be looked at between any two pieces that take long, as often as their share allows", async () => {
    const { counted, work } = clock();
    await work(200);
    await work(200);
    assertEquals(counted.waiting, 200 * OTHERS_SHARE);
  });

  it("owes others for work that fails, too", async () => {
    const { counted, giver, work } = clock();
    await assertRejects(() => giver.run(() => Promise.reject(new Error(`no ${counted.ms += 100}`))), Error, "no");
    await work(0);
    assertEquals(counted.waiting, 100 * OTHERS_SHARE);
  });

  it("hears from a socket after few pieces of it", async () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const client = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
    const server = await listener.accept();
    try {
      const giver = new WayGiver();
      const busy = () => {
        const end = performance.now() + 60;
        while (performance.now() < end);
        return Promise.resolve();
      };
      await giver.run(busy);
      let heard = false;
      const reading = server.read(new Uint8Array(1)).then(() => heard = true);
      await client.write(Uint8Array.of(1));
      let pieces = 0;
      for (; !heard && pieces < 40; pieces++) await giver.run(busy);
      await reading;
      assert(pieces < 20, `after ${pieces} pieces: one turn in each is 61 of them`);
    } finally {
      for (const one of [listener, client, server]) one.close();
    }
  });
});
