import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { CompletionRate } from "../../../cluster/serving/completion_rate.ts";
import { toHttpError } from "../../../cluster/api/errors.ts";
import { LatentmeshError } from "../../../core/errors.ts";

describe("a full queue", () => {
  it("says when those that wait will have been served, within a minute", () => {
    const pace = new CompletionRate();
    assertEquals(pace.timeFor(10), undefined);
    for (let now = 0; now <= 1000; now += 250) pace.ended(now);
    assertEquals(pace.timeFor(10), 2500);
    pace.ended(1350);
    assertEquals(pace.timeFor(10), 2600);
    const retryAfter = (retryAfterMs?: number) => toHttpError(new LatentmeshError("overloaded", "later", { retryAfterMs })).retryAfter;
    assertEquals([undefined, 10, 2600, 1e9].map(retryAfter), [1, 1, 3, 60]);
  });
});
