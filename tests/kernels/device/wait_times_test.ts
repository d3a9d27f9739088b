import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { WaitTimes } from "../../../kernels/device/wait_times.ts";

describe("expected waits", () => {
  /** Work of these lengths, polled when it is expected and every hundredth from then on. */
  function expectedAfter(lengths: readonly number[], times = new WaitTimes(), amount = 100): number {
    for (const length of lengths) {
      const expected = times.expected(amount);
      let [unfinished, finished] = [0, expected];
      while (finished < length) [unfinished, finished] = [finished, finished + 0.01];
      times.note(amount, { expected, unfinished, finished });
    }
    return times.expected(amount);
  }
  const close = (value: number, expected: number) => assert(Math.abs(value - expected) <= 0.05 * expected, `${value} instead of ${expected}`);

  it("are as the last ones were, whatever is out of line once", () => {
    assertEquals(new WaitTimes().expected(100), 0);
    close(expectedAfter([1]), 1);
    close(expectedAfter([1, 1, 1, 1, 1, 600]), 1);
    close(expectedAfter([1, 600, 1, 600, 1]), 1);
    close(expectedAfter([1, 2, 2, 2, 2, 2, 2]), 2);
  });

  it("shrink until work is seen unfinished", () => {
    const lengths = Array.from({ length: 200 }, (_, i) => Math.max(0.5, 1 - i * 0.01));
    const expected = expectedAfter(lengths);
    assert(expected > 0.45 && expected < 0.52, `${expected}`);
  });

  it("begin anew when work is done before", () => {
    const times = new WaitTimes();
    expectedAfter([600, 600, 600], times);
    times.note(100, { expected: times.expected(100), unfinished: 2, finished: 3 });
    assertEquals(times.expected(100), 2.5);
  });

  it("are apart for other amounts", () => {
    const times = new WaitTimes();
    close(expectedAfter([600], times, 16_000), 600);
    close(expectedAfter([2], times, 1000), 2);
    close(times.expected(1010), 2);
    close(times.expected(16_000), 600);
    assertEquals(times.expected(4000), 0);
    assertEquals(times.expected(0), 0);
  });

  it("are the least that half or twice as much allows where an amount is new", () => {
    const times = new WaitTimes();
    close(expectedAfter([10], times, 1 << 20), 10);
    close(times.expected(1.4 * (1 << 20)), 10);
    close(times.expected((1 << 20) / 2), 5);
    assertEquals(times.expected((1 << 20) * 4), 0);
    close(expectedAfter([18], times, 2 << 20), 18);
    close(times.expected(1.5 * (1 << 20)), 18 * 2 ** -0.5);
  });
});
