import { describe, it } from "@std/testing/bdd";
import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { MINICPM3, parse, V3, YOUTU } from "../../support/published_configs.ts";

describe("dense families", () => {
  it("reads Youtu-LLM as dense layers with tied embeddings, under both of its names", () => {
    const spec = parse(YOUTU);
    assertEquals([spec.moe, spec.denseLayers, spec.tieEmbeddings, spec.rope.interleaved, spec.zeroToken], [null, 32, true, true, null]);
    const { rope_parameters: { rope_theta }, ...rest } = YOUTU;
    assertEquals(parse({ ...rest, model_type: "youtu_llm", rope_theta, rope_scaling: null }), spec);
  });

  it("takes the row of Youtu-LLM's padding token for zero as transformers does, but of none that ends texts", () => {
    const zeroToken = (pad_token_id: number | null, eos_token_id: number | number[]) => parse({ ...YOUTU, pad_token_id, eos_token_id }).zeroToken;
    assertEquals([zeroToken(5, 128001), zeroToken(0, 128001), zeroToken(null, 128001)], [5, 0, null]);
    assertEquals([zeroToken(128001, 128001), zeroToken(7, [6, 7]), zeroToken(128256, 128001)], [null, null, null]);
    // No other family has that trait.
    assertEquals([parse({ ...V3, pad_token_id: 5 }).zeroToken, parse({ ...MINICPM3, pad_token_id: 5 }).zeroToken], [null, null]);
  });

  it("reads MiniCPM3-4B, whose residual stream it keeps divided by the scale of what is added to it", () => {
    const spec = parse(MINICPM3);
    assertEquals([spec.moe, spec.valueWidth, spec.tieEmbeddings, spec.rope.interleaved, spec.latentNormEps], [null, 64, true, false, 1e-6]);
    assertAlmostEquals(spec.embeddingScale, 12 * Math.sqrt(62) / 1.4, 1e-12);
    assertAlmostEquals(spec.normEps, 1e-5 * 62 / 1.4 ** 2, 1e-15);
    assertAlmostEquals(spec.logitScale, 0.1, 1e-15);
    const unscaled = parse({ ...MINICPM3, scale_emb: 1, scale_depth: null, dim_model_base: null });
    assertEquals([unscaled.embeddingScale, unscaled.normEps, unscaled.logitScale], [1, 1e-5, 1]);
    for (const field of ["scale_emb", "scale_depth", "dim_model_base"]) {
      assertEquals(assertThrows(() => parse({ ...MINICPM3, [field]: undefined }), LatentmeshError, "is missing").param, field);
    }
    assertEquals(parse({ ...MINICPM3, v_head_dim: 48, tie_word_embeddings: false }).valueWidth, 48);
    assertEquals(assertThrows(() => parse({ ...MINICPM3, num_attention_heads: 39, num_key_value_heads: 39 }), LatentmeshError).param, "v_head_dim");
  });

  it("refuses experts of families that have none", () => {
    for (const config of [YOUTU, MINICPM3]) {
      parse({ ...config, n_routed_experts: null });
      assertEquals(assertThrows(() => parse({ ...config, n_routed_experts: 8 }), LatentmeshError, "are dense").param, "n_routed_experts");
    }
  });
});
