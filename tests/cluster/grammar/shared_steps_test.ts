import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import { SharedSteps } from "../../../cluster/grammar/shared_steps.ts";
import { finish } from "../../support/grammar_driver.ts";

describe("shared steps", () => {
  it("are done once for all who wait, and again after an error", () => {
    const done = new Map<string, number>();
    const shared = new SharedSteps((key: string) => done.get(key));
    let steps = 0;
    function* work(fails: boolean): Generator<void, number> {
      for (let i = 0; i < 5; i++) {
        steps++;
        yield;
      }
      if (fails) throw new Error("broken");
      done.set("a", 7);
      return 7;
    }
    const waiting = Array.from({ length: 3 }, () => shared.take("a", () => work(false)));
    for (const one of waiting) one.next();
    assertEquals(waiting.map(finish), [7, 7, 7]);
    assertEquals(steps, 5);
    done.clear();
    assertThrows(() => finish(shared.take("a", () => work(true))), Error, "broken");
    assertEquals(finish(shared.take("a", () => work(false))), 7);
  });
});
