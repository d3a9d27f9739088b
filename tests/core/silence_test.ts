import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { Silence, SilenceWatch, watchSilence } from "../../core/silence.ts";
import { SEED } from "../../bench/support/random.ts";

describe("silence", () => {
  it("counts the time between polls, but no more than a slice of what passed unheard", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 5000 }), { maxLength: 50 }), (gaps) => {
        const silence = new Silence(7);
        let [now, expected] = [7, 0];
        for (const gap of gaps) assertEquals(silence.lasts(now += gap), expected += Math.min(gap, 100));
      }),
      { seed: SEED },
    );
  });

  it("calls when it has lasted, once, and not when it is ended before", async () => {
    let calls = 0;
    await new Promise<void>((resolve) =>
      watchSilence(20, () => {
        calls++;
        resolve();
      })
    );
    const stop = watchSilence(5, () => calls++);
    stop();
    await new Promise((resolve) => setTimeout(resolve, 20));
    assertEquals(calls, 1);
  });

  it("is watched over many waits: each counts from its own beginning, and none after the end", async () => {
    let calls = 0;
    let called = Promise.withResolvers<void>();
    const watch = new SilenceWatch();
    const begin = () =>
      watch.begin(150, () => {
        calls++;
        called.resolve();
      });
    const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
    // Together longer than any of them may last.
    for (let i = 0; i < 5; i++) {
      const wait = begin();
      await pause(60);
      watch.end(wait);
    }
    assertEquals(calls, 0);
    const heard = begin();
    for (let i = 0; i < 4; i++) {
      await pause(60);
      heard.heard();
    }
    watch.end(heard);
    assertEquals(calls, 0);
    for (let i = 1; i <= 2; i++) {
      called = Promise.withResolvers();
      // Beside another one, which is ended in time.
      const other = begin();
      begin();
      watch.end(other);
      await called.promise;
      assertEquals(calls, i);
    }
    begin();
    watch.stop();
    await pause(200);
    assertEquals(calls, 2);
  });
});
