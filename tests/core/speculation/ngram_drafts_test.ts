import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { INDEXED_PER_STEP, NgramDrafts } from "../../../core/speculation/ngram_drafts.ts";
import { LEAST_MATCH } from "../../../core/speculation/ngram_index.ts";

/** What is drafted in one step. */
function draft(drafts: NgramDrafts, most: number) {
  return drafts.draft(most, { tokens: INDEXED_PER_STEP });
}

/** Longest match that ends before the end, the latest of equals. */
function longestMatch(tokens: readonly number[]): { readonly end: number; readonly length: number } | null {
  let best: { end: number; length: number } | null = null;
  for (let end = tokens.length - 1; end >= LEAST_MATCH; end--) {
    let length = 0;
    while (length < 32 && length < end && tokens[end - 1 - length] === tokens[tokens.length - 1 - length]) length++;
    if (length >= LEAST_MATCH && length > (best?.length ?? 0)) best = { end, length };
  }
  return best;
}

/** What comes after a match: a repetition shorter than the draft goes on. */
function continued(tokens: readonly number[], from: number, count: number): number[] {
  const all = [...tokens];
  for (let i = 0; i < count; i++) all.push(all[from + i]);
  return all.slice(tokens.length);
}

describe("drafts from what was there before", () => {
  it("are what followed the longest match, the latest of equals, however the tokens came", () =>
    fc.assert(
      fc.property(
        // Few tokens, so that much repeats; few enough of them that all occurrences are looked at.
        fc.array(fc.nat(3), { minLength: 1, maxLength: 40 }),
        fc.nat(40),
        fc.integer({ min: 1, max: 12 }),
        (tokens, prompt, most) => {
          const drafts = new NgramDrafts(tokens.slice(0, prompt));
          for (const token of tokens.slice(prompt)) drafts.push(token);
          const found = draft(drafts, most);
          const expected = longestMatch(tokens);
          if (expected === null) return assertEquals(found, null);
          assert(found !== null);
          assertEquals(found.matched, expected.length);
          assertEquals(found.tokens, continued(tokens, expected.end, most));
        },
      ),
      { numRuns: 2000, seed: 1 },
    ));

  it("are each sequence's own where several begin with one prompt, however they come by turns", () =>
    fc.assert(
      fc.property(
        fc.array(fc.nat(3), { maxLength: 20 }),
        fc.array(fc.tuple(fc.nat(2), fc.nat(3), fc.boolean()), { maxLength: 40 }),
        fc.nat(30),
        (prompt, turns, least) => {
          const sequences = Array.from({ length: 3 }, () => ({ drafts: new NgramDrafts(prompt), tokens: [...prompt] }));
          for (const [which, token, asks] of turns) {
            const { drafts, tokens } = sequences[which];
            drafts.push(token);
            tokens.push(token);
            // What is taken in by parts comes to the same.
            if (asks) drafts.draft(1, { tokens: least });
          }
          for (const { drafts, tokens } of sequences) {
            const expected = longestMatch(tokens);
            const found = draft(drafts, 5);
            assertEquals(found, expected === null ? null : { tokens: continued(tokens, expected.end, 5), matched: expected.length });
          }
        },
      ),
      { numRuns: 2000, seed: 2 },
    ));

  it("take a prompt in once for all sequences that begin with it", () => {
    const budget = { tokens: 1000 };
    const prompt = [...Array.from({ length: 600 }, (_, i) => i), 5, 6, 7];
    const sequences = Array.from({ length: 8 }, () => new NgramDrafts(prompt));
    for (const [i, drafts] of sequences.entries()) drafts.push(8 + i);
    assertEquals(sequences.map((drafts) => drafts.draft(1, budget)?.tokens), [[9], ...new Array(7).fill(undefined)]);
    assertEquals(budget.tokens, 1000 - prompt.length - sequences.length);
  });

  it("come as soon as a long prompt is taken in, a part with each question", () => {
    const prompt = Array.from({ length: 100_000 }, (_, i) => i);
    const drafts = new NgramDrafts([...prompt, 500, 501, 502, 503]);
    let asked = 1;
    while (draft(drafts, 3) === null) assert(++asked < 20, "it never ends");
    assert(asked > 3, "not all at once");
    assertEquals(draft(drafts, 3), { tokens: [504, 505, 506], matched: 4 });
    // What came meanwhile counts.
    for (const token of [7, 8, 9]) drafts.push(token);
    assertEquals(draft(drafts, 2), { tokens: [10, 11], matched: 3 });
  });

  it("take no more in than all sequences of a step may together", () => {
    const budget = { tokens: 1000 };
    const sequences = Array.from({ length: 3 }, () => new NgramDrafts([...Array.from({ length: 600 }, (_, i) => i), 5, 6, 7]));
    assertEquals(sequences.map((drafts) => drafts.draft(1, budget)?.tokens), [[8], undefined, undefined]);
    assertEquals(budget.tokens, 0);
    assertEquals(sequences.map((drafts) => draft(drafts, 1)?.tokens), [[8], [8], [8]]);
  });

  it("are none where nothing repeats or none are wanted", () => {
    const drafts = new NgramDrafts([1, 2, 3, 4, 1, 2, 3]);
    assertEquals([draft(drafts, 0), draft(drafts, 1)], [null, { tokens: [4], matched: 3 }]);
    drafts.push(9);
    assertEquals(draft(drafts, 4), null);
    assertEquals(draft(new NgramDrafts([1]), 4), null);
  });
});

describe("drafts from what is expected", () => {
  it("begin with it, go on as long as it comes, and after a change where it is found again", () => {
    const expected = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19];
    const drafts = new NgramDrafts([1, 2, 3], expected);
    assertEquals(draft(drafts, 3)?.tokens, [10, 11, 12]);
    drafts.push(10);
    assertEquals(draft(drafts, 4)?.tokens, [11, 12, 13, 14]);
    // Something else comes, and then goes on as expected.
    for (const token of [99, 12, 13]) drafts.push(token);
    assertEquals(draft(drafts, 4), null);
    drafts.push(14);
    assertEquals(draft(drafts, 4), { tokens: [15, 16, 17, 18], matched: 3 });
  });

  it("end with it", () => {
    const drafts = new NgramDrafts([1, 2], [5, 6]);
    drafts.push(5);
    assertEquals(draft(drafts, 9)?.tokens, [6]);
    drafts.push(6);
    assertEquals(draft(drafts, 9), null);
  });
});
