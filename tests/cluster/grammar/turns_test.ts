import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { type Steps, Turns } from "../../../cluster/grammar/turns.ts";

describe("turns", () => {
  it("let nobody wait for all that another has asked for, nor for what takes long of one's own", async () => {
    let now = 0;
    const done: string[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const turns = new Turns(() => Promise.resolve(), () => now);
    function* work(name: string, steps: number): Steps {
      for (let i = 0; i < steps; i++) {
        now++;
        yield;
      }
      done.push(name);
      if (done.length === 6) resolve();
    }
    for (const name of ["a1", "a2", "a3"]) turns.add("a", work(name, 100));
    turns.add("a", work("a4", 1));
    turns.add("b", work("b1", 3));
    turns.add("b", work("b2", 3));
    await promise;
    assertEquals(done, ["b1", "b2", "a4", "a1", "a2", "a3"]);
  });
});
