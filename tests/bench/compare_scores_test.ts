import { describe, it } from "@std/testing/bdd";
import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { compareScores, equalTokens } from "../../bench/gguf/compare_scores.ts";

describe("logits of two programs", () => {
  it("are compared by what would be chosen, by how much, and by what is likely", () => {
    // Of four tokens: the same choice, another one, the same one from the same logits but for what is added to all.
    const ours = Float32Array.of(1, 2, 0, 0, 3, 3.5, 0, 0, 0, 1, 0, 0);
    const theirs = Float32Array.of(1, 2, 0, 0, 4, 3.25, 0, 0, 5, 6, 5, 5);
    const { positions, disagreements, error, divergence } = compareScores(ours, theirs, 4);
    assertEquals(positions, 3);
    assertEquals(disagreements, [{ position: 1, margins: [0.5, 0.75] }]);
    assertAlmostEquals(error, Math.sqrt((1 + 0.25 ** 2 + 4 * 25) / (1 + 4 + 9 + 3.5 ** 2 + 1)), 1e-12);
    const softmax = (logits: number[]) => logits.map((logit) => Math.exp(logit) / logits.reduce((sum, each) => sum + Math.exp(each), 0));
    const [p, q] = [softmax([3, 3.5, 0, 0]), softmax([4, 3.25, 0, 0])];
    const expected = p.reduce((sum, each, i) => sum + each * Math.log(each / q[i]), 0);
    assertAlmostEquals(divergence.largest, expected, 1e-12);
    assertAlmostEquals(divergence.mean, expected / 3, 1e-12);
  });

  it("must be as many", () => void assertThrows(() => compareScores(new Float32Array(8), new Float32Array(4), 4), Error, "4 logits"));

  it("tokens are counted up to the first that differs", () => {
    assertEquals([equalTokens([1, 2, 3], [1, 2, 3]), equalTokens([1, 2, 3], [1, 5, 3]), equalTokens([1, 2], [])], [3, 1, 0]);
  });
});
