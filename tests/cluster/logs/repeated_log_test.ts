import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { RepeatedLog } from "../../../cluster/logs/repeated_log.ts";

describe("a log of what strangers can repeat", () => {
  it("says it at once, then how often", () => {
    let now = 0;
    const lines: string[] = [];
    const repeated = new RepeatedLog((line) => lines.push(line), () => now);
    for (let i = 0; i < 100_000; i++) repeated.say("refused");
    now += 10_000;
    repeated.say("refused again");
    now += 10_000;
    repeated.say("refused", 1);
    assertEquals(lines, ["refused", "refused again (100000 times)", "refused"]);
  });
});
