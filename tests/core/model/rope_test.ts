import { describe, it } from "@std/testing/bdd";
import { assertAlmostEquals, assertEquals } from "@std/assert";
import { inverseFrequencies, ropeTable, shortPositions } from "../../../core/model/rope.ts";
import { MINICPM3, parse, V2_LITE } from "../../support/published_configs.ts";

describe("rope", () => {
  it("YaRN interpolates slow pairs, keeps fast ones and ramps between", () => {
    const plain = { width: 64, theta: 10000, interleaved: true, yarn: null, longRope: null };
    const yarn = parse(V2_LITE).rope;
    const [before, after] = [inverseFrequencies(plain), inverseFrequencies(yarn)];
    assertAlmostEquals(after[0], before[0]);
    assertAlmostEquals(after[31], before[31] / 40);
    for (let i = 1; i < 32; i++) assertEquals(after[i] <= after[i - 1] && after[i] >= before[i] / 40 && after[i] <= before[i], true);
  });

  // Inverse frequencies and attention factors are those of transformers' _compute_longrope_parameters.
  it("LongRoPE divides each pair's frequency, by the list that is for a sequence's length", () => {
    const config = (max_position_embeddings: number, change: object = {}) => ({
      ...MINICPM3,
      qk_rope_head_dim: 8,
      max_position_embeddings,
      rope_scaling: {
        type: "longrope",
        short_factor: [1, 1.05, 1.3, 1.9],
        long_factor: [1.02, 2.7, 9.5, 31],
        original_max_position_embeddings: 32,
        ...change,
      },
    });
    const of = (config: object) => {
      const { rope } = parse(config);
      return [...inverseFrequencies(rope), rope.longRope!.attentionFactor];
    };
    const close = (actual: number[], expected: number[]) => actual.forEach((value, i) => assertAlmostEquals(value / expected[i], 1, 1e-4));
    close(of(config(128)), [9.8039e-1, 3.7037e-2, 1.0526e-3, 3.2258e-5, 1.1832159566199232]);
    close(of(config(32)), [1, 9.5238e-2, 7.6923e-3, 5.2632e-4, 1]);
    assertEquals(of(config(128, { attention_factor: 1.25 }))[4], 1.25);
    assertAlmostEquals(of(config(32, { factor: 4 }))[4], 1.1832159566199232, 1e-12);
    const { rope } = parse(config(128));
    assertAlmostEquals(ropeTable(rope, 1)[0], 1.1832159566199232, 1e-6);
    // Both lists, with the same factor, where both can apply: not within the original context, nor where they are one.
    assertEquals(rope.longRope!.short, { divisors: [1, 1.05, 1.3, 1.9], positions: 32 });
    const table = ropeTable(rope, 128);
    assertEquals(table.length, (128 + 32) * 8);
    const at = (row: number, pair: number) => table[(row * 4 + pair) * 2];
    assertAlmostEquals(at(2, 3), 1.1832159566199232 * Math.cos(2 * 3.2258e-5), 1e-6);
    assertAlmostEquals(at(128 + 2, 1), 1.1832159566199232 * Math.cos(2 * 9.5238e-2), 1e-4);
    assertEquals([parse(config(32)).rope, parse(config(128, { long_factor: [1, 1.05, 1.3, 1.9] })).rope].map(shortPositions), [0, 0]);
  });

  it("multiplies cos and sin by the attention factor", () => {
    const { rope } = parse({ ...V2_LITE, rope_scaling: { ...V2_LITE.rope_scaling, attention_factor: 1.5 } });
    const [cos, sin] = ropeTable(rope, 1);
    assertEquals([cos, sin], [1.5, 0]);
  });
});
