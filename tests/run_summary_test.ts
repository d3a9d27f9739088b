/**
 * What `deno task test` says at its end, made of what `deno test` prints.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { endsWithin } from "./support/ends_within.ts";
import { LEFT_OUT } from "./support/extent.ts";
import { RunSummary } from "./support/run_summary.ts";

const OUTPUT = `
./tests/a_test.ts => a suite ... on wasm ... adds ... ok (3ms)
./tests/a_test.ts => a suite ... on cpu ... ${LEFT_OUT} ... ignored (0ms)
./tests/b_test.ts => models ... on cpu ... 8 of 10 models: ${LEFT_OUT} ... ignored (0ms)
./tests/b_test.ts => models ... on deno: skipped, no GPU driver ... ignored (0ms)
  on one processor, where files run in turn: ${LEFT_OUT} ... ignored (0ms)

FAILED | 250 passed (1774 steps) | 1 failed (2 steps) | 2 ignored (137 steps) (8m10s)
`;

describe("the summary of a run", () => {
  it("has what was left out, by name, and how many passed and failed, however its output comes", () => {
    for (const size of [1, 7, OUTPUT.length]) {
      const summary = new RunSummary();
      for (let at = 0; at < OUTPUT.length; at += size) summary.push(OUTPUT.slice(at, at + size));
      assertEquals(summary.leftOut, [
        "tests/a_test.ts => a suite ... on cpu",
        "tests/b_test.ts => models ... on cpu ... 8 of 10 models",
        "on one processor, where files run in turn",
      ]);
      assertEquals([summary.passed, summary.failed], [2024, 3]);
    }
  });

  it("knows which have been running for long, until one ends", () => {
    const summary = new RunSummary();
    summary.push(
      "'a suite' has been running for over (1m0s)\n'another' has been running for over (1m0s)\n'a suite' has been running for over (2m0s)\n",
    );
    assertEquals([[...summary.slow], summary.lines], [["a suite", "another"], 0]);
    summary.push("./tests/a_test.ts => a suite ... adds ... ok (2m)\n");
    assertEquals([[...summary.slow], summary.lines], [[], 1]);
  });

  it("counts tests without steps, and a run that does not come to its end as one that failed", () => {
    const summary = new RunSummary();
    assertEquals([summary.passed, summary.failed, summary.leftOut], [0, 1, []]);
    summary.push("ok | 1 passed | 0 failed (12ms)\n");
    assertEquals([summary.passed, summary.failed], [1, 0]);
  });
});

describe("a test", () => {
  it("that waits for what does not come fails by name, and one that ends says what it has to", async () => {
    const never = () => new Promise<void>((resolve) => setTimeout(resolve, 30));
    const error = await assertRejects(() => endsWithin("a wait", never, 1), Error);
    assertEquals(error.message, "a wait: has not ended within 0.001 s");
    assertEquals(await endsWithin("an answer", () => 3), 3);
    await assertRejects(() => endsWithin("a failure", () => Promise.reject(new TypeError("no"))), TypeError, "no");
    await never();
  });
});
