/**
 * A little of every fuzzer; `deno task fuzz --minutes N` does more.
 */
import { describe, it } from "@std/testing/bdd";
import { Random, SEED } from "../../bench/support/random.ts";
import { TARGETS } from "./targets.ts";

/** Inputs of each; some take a millisecond. */
const INPUTS = 1000;

describe("what others have written", () => {
  for (const { name, run } of TARGETS) {
    it(`is refused by name, or used: ${name}`, async () => {
      for (let input = 0; input < INPUTS; input++) await run(new Random(SEED + input));
    });
  }
});
