import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { parse, V3 } from "../../support/published_configs.ts";

describe("the config of sparse attention", () => {
  it("reads the indexer of DeepSeek-V3.2 and GLM-5, and which layers of the latter share what one has chosen", () => {
    const config = { ...V3, model_type: "deepseek_v32", index_topk: 512, index_head_dim: 96, index_n_heads: 8 };
    const { indexer, family, ...spec } = parse(config);
    const all = new Array(V3.num_hidden_layers).fill(true);
    assertEquals(indexer, { heads: 8, width: 96, topTokens: 512, interleaved: false, chooses: all });
    const { indexer: none, family: _, ...v3 } = parse(V3);
    assertEquals([family, none, spec], ["deepseek_v32", null, v3]);
    const { index_topk: _topk, index_head_dim: _width, index_n_heads: _heads, ...bare } = config;
    assertEquals(parse(bare).indexer, { heads: 64, width: 128, topTokens: 2048, interleaved: false, chooses: all });
    const glm = { ...bare, model_type: "glm_moe_dsa", num_hidden_layers: 6, n_group: undefined, topk_group: undefined };
    assertEquals(parse(glm).indexer, { heads: 32, width: 128, topTokens: 2048, interleaved: true, chooses: new Array(6).fill(true) });
    const [T, F] = [true, false];
    const schedules: [change: object, chooses: boolean[]][] = [
      [{ indexer_types: ["full", "shared", "full", "full", "shared", "shared"] }, [T, F, T, T, F, F]],
      [{ index_topk_pattern: "FSSFSS" }, [T, F, F, T, F, F]],
      [{ index_topk_freq: 2 }, [T, T, F, T, F, T]],
      [{ index_topk_freq: 3, index_skip_topk_offset: 1 }, [T, F, F, T, F, F]],
    ];
    for (const [change, chooses] of schedules) assertEquals(parse({ ...glm, ...change }).indexer?.chooses, chooses, JSON.stringify(change));
    const refused: [change: object, field: string][] = [
      [{ q_lora_rank: null }, "q_lora_rank"],
      [{ index_head_dim: 33 }, "index_head_dim"],
      [{ index_head_dim: 32 }, "index_head_dim"],
      [{ rope_interleave: false }, "rope_interleave"],
      [{ index_topk: 0 }, "index_topk"],
      [{ indexer_rope_interleave: false }, "indexer_rope_interleave"],
      [{ indexer_types: ["shared", "full", "full", "full", "full", "full"] }, "indexer_types"],
      [{ indexer_types: ["full"] }, "indexer_types"],
      [{ index_topk_pattern: "FSXFSS" }, "index_topk_pattern"],
      [{ index_topk_freq: 3, index_skip_topk_offset: 0 }, "index_skip_topk_offset"],
      [{ layer_types: ["full_attention"] }, "layer_types"],
      [{ mlp_layer_types: ["sparse"] }, "mlp_layer_types"],
    ];
    for (const [change, field] of refused) assertEquals(assertThrows(() => parse({ ...glm, ...change }), LatentmeshError).param, field);
  });
});
