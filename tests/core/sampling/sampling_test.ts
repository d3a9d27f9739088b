import { describe, it } from "@std/testing/bdd";
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { gumbel, randomBits, sequenceKey } from "../../../core/random.ts";
import { topTokens } from "../../../core/sampling/top_tokens.ts";
import { LogitAdjuster, mergeAdjustments } from "../../../core/sampling/adjustments.ts";
import { GREEDY, inverseTemperature, isGreedy, type SamplingParams } from "../../../core/sampling/params.ts";
import { candidatesWanted, sampleToken } from "../../../core/sampling/sampler.ts";
import { Random, SEED } from "../../../bench/support/random.ts";

/** What a device reports of a row, with the best `count` tokens. */
function candidatesOf(logits: readonly number[], params: SamplingParams, key: number, position: number, count: number) {
  const temperature = params.temperature || 1;
  const tokens = logits.map((_, i) => i).sort((a, b) => logits[b] - logits[a] || a - b).slice(0, count);
  const scores = logits.map((logit, token) => logit / temperature + gumbel(key, position, token));
  const drawnToken = scores.indexOf(Math.max(...scores));
  return {
    temperedLogSumExp: Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit / temperature), 0)),
    drawnToken,
    drawnScore: scores[drawnToken],
    tokens,
    logits: tokens.map((token) => logits[token]),
    complete: count >= logits.length,
  };
}

/** Frequencies of tokens over many seeds. */
function frequencies(logits: readonly number[], params: SamplingParams, count: number, draws: number): number[] {
  const seen = logits.map(() => 0);
  for (let seed = 0; seed < draws; seed++) {
    const key = sequenceKey(seed, 0);
    seen[sampleToken(candidatesOf(logits, params, key, 7, count), params, key, 7)!.token] += 1 / draws;
  }
  return seen;
}

const LOGITS = [2, 1, 0.5, 0, -1, -3];
const DRAWS = 20000;

describe("sampleToken", () => {
  it("gives a drawn token the logit that it is listed with, to the last bit", () => {
    const random = new Random(5);
    const params = { ...GREEDY, temperature: 0.7 };
    for (let position = 0; position < 200; position++) {
      const logits = Array.from({ length: 9 }, () => Math.fround(8 * random.next() - 20));
      // Of scores devices give f32.
      const candidates = candidatesOf(logits, params, 1, position, 9);
      const { token, logit } = sampleToken({ ...candidates, complete: false, drawnScore: Math.fround(candidates.drawnScore) }, params, 1, position)!;
      assertEquals(logit, logits[token]);
    }
  });

  it("takes the best token at temperatures whose inverse is no number any more", () => {
    for (const temperature of [1e-40, 1e-300, 5e-324, 1e-6]) {
      const params = { ...GREEDY, temperature, topP: 0.9, topK: 3 };
      assertEquals([isGreedy(params), inverseTemperature(params), candidatesWanted(params, 64)], [true, 1, 1]);
      assertEquals(sampleToken(candidatesOf([0, 3, 1], GREEDY, 1, 1, 1), params, 1, 1), { token: 1, logit: 3 });
    }
    assertEquals([isGreedy({ ...GREEDY, temperature: 0.01 }), isGreedy(GREEDY)], [false, true]);
  });

  it("takes the best token at temperature 0, the lower one of equals", () => {
    assertEquals(sampleToken(candidatesOf([1, 3, 3], GREEDY, 0, 0, 1), GREEDY, 0, 0)!.token, 1);
  });

  const cases: [name: string, params: Partial<SamplingParams>, allowed: number][] = [
    ["everything", {}, 6],
    ["top-k", { topK: 3 }, 3],
    ["top-p", { topP: 0.8 }, 3],
    ["min-p", { minP: 0.25 }, 3],
    ["top-k, then top-p of what is left", { topK: 3, topP: 0.8 }, 2],
  ];
  for (const [name, change, allowed] of cases) {
    it(`draws from the right distribution under ${name}`, () => {
      const params = { ...GREEDY, temperature: 1.3, ...change };
      const weights = LOGITS.map((logit, i) => (i < allowed ? Math.exp(logit / 1.3) : 0));
      const total = weights.reduce((a, b) => a + b);
      const seen = frequencies(LOGITS, params, 6, DRAWS);
      // Four standard deviations of the most uncertain frequency.
      weights.forEach((weight, token) => assertAlmostEquals(seen[token], weight / total, 4 * 0.5 / Math.sqrt(DRAWS), `token ${token}`));
    });
  }

  it("asks for the whole row exactly when candidates do not reach far enough, and then agrees with it", () => {
    fc.assert(
      fc.property(
        fc.array(fc.double({ min: -6, max: 6, noNaN: true }), { minLength: 2, maxLength: 12 }),
        fc.record({
          topK: fc.nat(6),
          topP: fc.constantFrom(1, 0.9, 0.5),
          minP: fc.constantFrom(0, 0.05, 0.5),
          temperature: fc.constantFrom(0.3, 1, 1.7),
        }),
        fc.integer({ min: 1, max: 12 }),
        fc.nat(),
        (logits, change, count, seed) => {
          const params = { ...GREEDY, ...change };
          const key = sequenceKey(seed, 0);
          const whole = sampleToken(candidatesOf(logits, params, key, 3, logits.length), params, key, 3)!;
          const part = sampleToken(candidatesOf(logits, params, key, 3, Math.max(count, candidatesWanted(params, count))), params, key, 3);
          if (part !== null) assertEquals(part.token, whole.token);
          else assert(count < logits.length, "everything was there");
        },
      ),
      { seed: SEED, numRuns: 2000 },
    );
  });

  it("needs no whole row where the winner among all tokens is known to be allowed", () => {
    // A hundred tokens, nearly alike: the nucleus is ninety of them, the list ten.
    const logits = Array.from({ length: 100 }, (_, i) => 1 - i / 1000);
    let decided = 0;
    for (let seed = 0; seed < 400; seed++) {
      const [params, key] = [{ ...GREEDY, temperature: 1, topP: 0.9 }, sequenceKey(seed, 0)];
      const part = sampleToken(candidatesOf(logits, params, key, 3, 10), params, key, 3);
      if (part === null) continue;
      decided++;
      assertEquals(part.token, sampleToken(candidatesOf(logits, params, key, 3, 100), params, key, 3)!.token);
    }
    assert(decided > 20 && decided < 80, `${decided} of 400, about a tenth`);
  });

  it("depends only on seed, choice and position", () => {
    const [a, b] = [sequenceKey(5, 0), sequenceKey(5, 1)];
    assert(a !== b && a !== sequenceKey(6, 0) && a !== sequenceKey(5 + 2 ** 32, 0), "keys differ");
    assertEquals(sequenceKey(5, 0), a);
    assert(randomBits(a, 1, 2) !== randomBits(a, 2, 1), "position and token are not interchangeable");
  });

  it("makes Gumbel noise", () => {
    const draws = Array.from({ length: 50000 }, (_, i) => gumbel(9, i, 3));
    const mean = draws.reduce((a, b) => a + b) / draws.length;
    const variance = draws.reduce((sum, x) => sum + (x - mean) ** 2, 0) / draws.length;
    assertAlmostEquals(mean, 0.5772, 0.03);
    assertAlmostEquals(variance, Math.PI ** 2 / 6, 0.08);
  });
});

describe("topTokens", () => {
  it("are the first of all, sorted, however many and whatever they are", () => {
    const logit = fc.oneof(fc.float({ noNaN: true }), fc.constantFrom(0, -0, 1, -1, Infinity, -Infinity));
    fc.assert(
      fc.property(fc.array(logit, { minLength: 1, maxLength: 60 }), fc.integer({ min: 1, max: 70 }), (values, count) => {
        const logits = Float32Array.from(values);
        const sorted = [...logits.keys()].sort((a, b) => (logits[b] === logits[a] ? 0 : logits[b] - logits[a]) || a - b);
        assertEquals([...topTokens(logits, count)], sorted.slice(0, count));
      }),
      { seed: SEED, numRuns: 2000 },
    );
  });
});

describe("LogitAdjuster", () => {
  const params = { ...GREEDY, presencePenalty: 0.5, frequencyPenalty: 0.25, repetitionPenalty: 2, logitBias: new Map([[3, -7], [1, 1]]) };

  it("penalises what was generated by count, what was seen by repetition, and adds the bias", () => {
    const adjuster = new LogitAdjuster(params, [9, 1]);
    adjuster.add(1);
    adjuster.add(1);
    const list = new Map(mergeAdjustments(adjuster).map(({ token, repetition, addend }) => [token, { repetition, addend }]));
    assertEquals(list.get(1), { repetition: 2, addend: 0 });
    assertEquals(list.get(9), { repetition: 2, addend: 0 });
    assertEquals(list.get(3), { repetition: 1, addend: -7 });
  });

  it("can be undone", () => {
    const random = new Random();
    const adjuster = new LogitAdjuster(params, [9, 1]);
    adjuster.add(1);
    for (const { token, repetition, addend } of mergeAdjustments(adjuster)) {
      const logit = random.normals(1, 5)[0];
      const adjusted = (logit > 0 ? logit / repetition : logit * repetition) + addend;
      assertAlmostEquals(adjuster.original(token, adjusted), logit, 1e-9);
    }
  });

  it("changes nothing by default", () => {
    const adjuster = new LogitAdjuster(GREEDY, [1, 2, 3]);
    adjuster.add(1);
    assertEquals([adjuster.empty, mergeAdjustments(adjuster)], [true, []]);
  });
});
