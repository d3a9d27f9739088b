import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { formatBytes } from "../../../cluster/logs/log.ts";
import { amountsOf } from "../../../cluster/logs/progress.ts";
import { formatSeconds, Rate } from "../../../cluster/logs/rate.ts";
import { LoadingPace } from "../../../cluster/observe/loading_pace.ts";

describe("a rate", () => {
  it("is that of the last seconds, without what was done before, and falls when nothing comes", () => {
    let now = 5000;
    const rate = new Rate(() => now);
    assertEquals([rate.perSecond, rate.secondsLeft(10)], [null, null]);
    rate.update(1e9);
    assertEquals(rate.perSecond, null);
    for (let i = 1; i <= 2000; i++) {
      now += 10;
      rate.update(1e9 + i * 1000);
    }
    assert(Math.abs(rate.perSecond! - 100_000) < 2000, String(rate.perSecond));
    assert(Math.abs(rate.secondsLeft(1e9 + 3e6)! - 10) < 0.3);
    now += 10_000;
    assert(rate.perSecond! < 60_000);
    for (let i = 1; i <= 2000; i++) {
      now += 10;
      rate.update(1e9 + 2e6 + i * 5000);
    }
    assert(Math.abs(rate.perSecond! - 500_000) < 10_000, String(rate.perSecond));
  });

  it("of loading begins anew after that of a download", () => {
    let now = 0;
    const pace = new LoadingPace(() => now);
    assertEquals(pace.status(0), { downloading: false, bytesPerSecond: null, secondsLeft: null });
    pace.update({ loadedBytes: 0, totalBytes: 4000, downloading: true });
    now = 1000;
    pace.update({ loadedBytes: 1000, totalBytes: 4000, downloading: true });
    assertEquals(pace.status(4000), { downloading: true, bytesPerSecond: 1000, secondsLeft: 3 });
    pace.update({ loadedBytes: 0, totalBytes: 0 });
    assertEquals(pace.status(4000), { downloading: false, bytesPerSecond: null, secondsLeft: null });
  });

  it("of what takes long is told by the minute or the hour", () => {
    const texts = [40, 0.3, 0.002, 0].map((perSecond) => {
      let now = 0;
      const rate = new Rate(() => now);
      rate.update(0);
      now = 1000;
      rate.update(perSecond);
      return amountsOf(rate, 12, 66, String);
    });
    assertEquals(texts.map((text) => text.split(", ")[1]), ["40/s", "18/min", "7/h", "0/s"]);
    assertEquals(texts[0], "12 of 66, 40/s, 1 s left");
  });

  it("has bytes and times that people read", () => {
    assertEquals([0, 0.5, 82.2857, 576, 999.7, 31_400, 999_700, 1.5e9].map(formatBytes), [
      "0 bytes",
      "0.5 bytes",
      "82.3 bytes",
      "576 bytes",
      "1.00 kB",
      "31.4 kB",
      "1.00 MB",
      "1.50 GB",
    ]);
    assertEquals([0.2, 99, 100, 3000, 9000].map(formatSeconds), ["1 s", "99 s", "2 min", "50 min", "2.5 h"]);
  });
});
