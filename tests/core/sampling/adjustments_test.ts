import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { LogitAdjuster, mergeAdjustments } from "../../../core/sampling/adjustments.ts";
import { GREEDY } from "../../../core/sampling/params.ts";

const penalty = fc.constantFrom(-2, -1, -0.5, 0, 0.5, 1, 2);
const tokens = fc.array(fc.nat(4), { maxLength: 8 });

describe("adjustments", () => {
  it("behind tokens that may come are those that there are when they have come, also where penalties cancel each other", () =>
    fc.assert(
      fc.property(penalty, penalty, fc.constantFrom(1, 1.5), tokens, tokens, tokens, (presence, frequency, repetition, prompt, generated, draft) => {
        const params = {
          ...GREEDY,
          presencePenalty: presence,
          frequencyPenalty: frequency,
          repetitionPenalty: repetition,
          logitBias: new Map([[2, 1]]),
        };
        const adjuster = new LogitAdjuster(params, prompt);
        for (const token of generated) adjuster.add(token);
        const before = mergeAdjustments(adjuster);
        const ahead = mergeAdjustments({ base: adjuster.base, log: [...adjuster.log, ...adjuster.after(draft)] });
        assertEquals(mergeAdjustments(adjuster), before, "nothing is counted");
        for (const token of draft) adjuster.add(token);
        // What changes nothing may be named or not.
        const effective = (all: typeof before) =>
          all.filter(({ repetition, addend }) => repetition !== 1 || addend !== 0).sort((a, b) => a.token - b.token);
        assertEquals(effective(ahead), effective(mergeAdjustments(adjuster)));
      }),
      { numRuns: 2000, seed: 1 },
    ));
});
