import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { Silence, watchSilence } from "../../core/silence.ts";
import { SEED } from "../support/random.ts";

describe("silence", () => {
  it("counts the time between looks, but no more than a slice of what passed unheard", () => {
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
});
