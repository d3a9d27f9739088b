import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { LatentmeshError } from "../../../core/errors.ts";
import { MOST_CANDIDATES } from "../../../core/sampling/candidates.ts";
import {
  decodeAnswers,
  decodePrompt,
  decodeStep,
  decodeTables,
  encodePrompt,
  encodeStep,
  encodeTables,
  type QueryFrame,
} from "../../../core/wire/queries.ts";
import { SEED } from "../../../bench/support/random.ts";

const word = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const adjustments = fc.array(fc.record({ token: word, repetition: fc.float({ noNaN: true }), addend: fc.float({ noNaN: true }) }), { maxLength: 5 });
const query: fc.Arbitrary<QueryFrame> = fc.record({
  key: word,
  position: word,
  inverseTemperature: fc.float({ noNaN: true }),
  plain: fc.integer({ min: 0, max: MOST_CANDIDATES }),
  adjusted: fc.integer({ min: 0, max: MOST_CANDIDATES }),
  draw: fc.boolean(),
  base: fc.option(word),
  mask: fc.option(word.filter((id) => id > 0)),
  changes: adjustments,
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

  it("give back tables, and refuse those that are not of the announced sizes", () => {
    const masks = fc.array(fc.array(word, { maxLength: 4 }), { maxLength: 4 });
    fc.assert(
      fc.property(fc.array(adjustments, { maxLength: 4 }), masks, fc.integer({ min: 1, max: 2 ** 31 }), (lists, masks, more) => {
        const payload = bytesOf(encodeTables(lists, masks.map((words) => Uint32Array.from(words))));
        const sizes = [lists.map(({ length }) => length), masks.map(({ length }) => length)] as const;
        const ordered = lists.map((list) => list.map(({ token, repetition, addend }) => ({ token, repetition, addend })));
        assertEquals(asText(decodeTables(payload, ...sizes)), asText({ adjustments: ordered, masks }));
        assertThrows(() => decodeTables(payload, sizes[0], [...sizes[1], more]), LatentmeshError, "not what its message announces");
        assertThrows(() => decodeTables(payload, [...sizes[0], more], sizes[1]), LatentmeshError, "not what its message announces");
        if (payload.length > 0) assertThrows(() => decodeTables(payload, [], []), LatentmeshError, "not what its message announces");
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
          if (queries.length > 0 && lie !== queries[0].changes.length) {
            words[rows.length * 3 + 9] = lie;
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
      () => decodeAnswers(new Uint8Array(8), { sums: 0, queries: [{ plain: 1, adjusted: 0 }], prompt: 0, promptCandidates: 0 }),
      LatentmeshError,
      "8 bytes where 44",
    );
  });
});

/** Queries with their keys in the order in which they are decoded. */
function ordered(queries: readonly QueryFrame[]): QueryFrame[] {
  return queries.map(({ key, position, inverseTemperature, plain, adjusted, draw, base, mask, changes }) => ({
    key,
    position,
    inverseTemperature,
    plain,
    adjusted,
    draw,
    base,
    mask,
    changes: changes.map(({ token, repetition, addend }) => ({ token, repetition, addend })),
  }));
}
