import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { LatentmeshError } from "../../../core/errors.ts";
import type { LogitsQuery } from "../../../core/generation.ts";
import { MOST_CANDIDATES } from "../../../core/sampling/candidates.ts";
import { decodeAnswers, decodePrompt, decodeStep, encodePrompt, encodeStep } from "../../../core/wire/queries.ts";
import { SEED } from "../../support/random.ts";

const word = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const query: fc.Arbitrary<LogitsQuery> = fc.record({
  key: word,
  position: word,
  inverseTemperature: fc.float({ noNaN: true }),
  plain: fc.integer({ min: 0, max: MOST_CANDIDATES }),
  adjusted: fc.integer({ min: 0, max: MOST_CANDIDATES }),
  draw: fc.boolean(),
  adjustments: fc.array(fc.record({ token: word, repetition: fc.float({ noNaN: true }), addend: fc.float({ noNaN: true }) }), { maxLength: 5 }),
  mask: fc.option(fc.array(word, { minLength: 1, maxLength: 4 }).map((words) => Uint32Array.from(words))),
});
const row = fc.record({ sequence: word, token: word, position: word });
const bytesOf = (words: Uint32Array<ArrayBuffer>) => new Uint8Array(words.buffer);
const asText = (value: unknown) => JSON.stringify(value, (_, v) => v instanceof Uint32Array ? [...v] : Object.is(v, -0) ? "-0" : v);

describe("payloads of steps and prompts", () => {
  it("give back what went in", () => {
    fc.assert(
      fc.property(fc.array(row, { maxLength: 9 }), fc.array(word, { maxLength: 9 }), fc.array(query, { maxLength: 4 }), (rows, tokens, queries) => {
        assertEquals(
          asText(decodeStep(bytesOf(encodeStep(rows, queries)), rows.length, queries.length)),
          asText({ rows, queries: ordered(queries) }),
        );
        assertEquals(
          asText(decodePrompt(bytesOf(encodePrompt(tokens, queries)), tokens.length, queries.length)),
          asText({ tokens, queries: ordered(queries) }),
        );
      }),
      { seed: SEED },
    );
  });

  it("are refused where they are not what their message announces, before anything of that size is made", () => {
    fc.assert(
      fc.property(
        fc.array(row, { maxLength: 5 }),
        fc.array(query, { maxLength: 3 }),
        fc.integer({ min: -3, max: 3 }),
        word,
        (rows, queries, change, lie) => {
          const words = encodeStep(rows, queries);
          const cut = new Uint32Array(Math.max(0, words.length + change));
          cut.set(words.subarray(0, cut.length));
          if (cut.length !== words.length) {
            assertThrows(() => decodeStep(bytesOf(cut), rows.length, queries.length), LatentmeshError, "not what its message announces");
          }
          if (queries.length > 0 && lie !== queries[0].adjustments.length) {
            words[rows.length * 3 + 6] = lie;
            assertThrows(() => decodeStep(bytesOf(words), rows.length, queries.length), LatentmeshError);
          }
        },
      ),
      { seed: SEED },
    );
    assertThrows(() => decodeStep(new Uint8Array(7), 0, 0), LatentmeshError, "7 bytes");
    const greedy = { ...fc.sample(query, { seed: SEED, numRuns: 1 })[0], plain: MOST_CANDIDATES + 1 };
    assertThrows(() => decodeStep(bytesOf(encodeStep([], [greedy])), 0, 1), LatentmeshError, `${MOST_CANDIDATES + 1} candidates`);
    assertThrows(
      () => decodeAnswers(new Uint8Array(8), { queries: [{ plain: 1, adjusted: 0 }], prompt: 0, promptCandidates: 0 }),
      LatentmeshError,
      "8 bytes where 40",
    );
  });
});

/** Queries with their keys in the order in which they are decoded. */
function ordered(queries: readonly LogitsQuery[]): LogitsQuery[] {
  return queries.map(({ key, position, inverseTemperature, plain, adjusted, draw, adjustments, mask }) => ({
    key,
    position,
    inverseTemperature,
    plain,
    adjusted,
    draw,
    adjustments: adjustments.map(({ token, repetition, addend }) => ({ token, repetition, addend })),
    mask,
  }));
}
