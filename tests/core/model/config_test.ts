import { describe, it } from "@std/testing/bdd";
import { assertAlmostEquals, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { parseModelConfig } from "../../../core/model/config.ts";
import { queryFactors } from "../../../core/model/query_factors.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { isMoeLayer, type ModelSpec } from "../../../core/model/spec.ts";
import { prefixed, tensorName } from "../../../core/model/tensor_names.ts";
import { LONGCAT_FLASH, MISTRAL4, parse, V2_LITE, V3, YOUTU } from "../../support/published_configs.ts";

const CHANNEL = { num_bits: 8, type: "float", strategy: "channel", symmetric: true };

/** With groups of compressed-tensors. */
const compressed = (...weights: object[]) => ({
  quantization_config: {
    quant_method: "compressed-tensors",
    config_groups: Object.fromEntries(weights.map((one, i) => [`group_${i}`, { weights: one }])),
  },
});

describe("parseModelConfig", () => {
  it("reads DeepSeek-V2-Lite", () => {
    const spec = parse(V2_LITE);
    assertEquals(spec.queryRank, null);
    assertEquals(spec.moe?.scoring, "softmax");
    assertEquals(spec.moe?.groups, 1);
    assertEquals(spec.moe?.sharedWidth, 2816);
    assertAlmostEquals(spec.attentionScale, 192 ** -0.5 * (0.1 * 0.707 * Math.log(40) + 1) ** 2, 1e-12);
    assertEquals(spec.rope.yarn?.attentionFactor, 1);
    assertEquals(spec.eosTokens, [100001]);
  });

  it("reads DeepSeek-V3 and takes kimi_k2 for the same architecture", () => {
    const spec = parse(V3);
    assertEquals([spec.moe?.groups, spec.moe?.activeGroups, spec.moe?.groupScore, spec.moe?.correctionBias], [8, 4, "top2", true]);
    assertEquals(parse({ ...V3, model_type: "kimi_k2" }), spec);
  });

  it("reads what is derived from an architecture that is known, by a name of its own or by that of the architecture", () => {
    assertEquals(parse({ ...V3, model_type: "joyai_llm_flash" }), parse(V3));
    assertEquals(parse({ ...V3, model_type: "mine", architectures: ["DeepseekV3ForCausalLM"] }), parse(V3));
    assertEquals(
      parse({ model_type: "kimi_vl", text_config: { ...V3, model_type: "mine", architectures: ["DeepseekV3ForCausalLM"] } }).family,
      "deepseek_v3",
    );
    for (const architectures of [undefined, null, [], ["LlamaForCausalLM"], ["toString"], "DeepseekV3ForCausalLM", [["DeepseekV3ForCausalLM"]]]) {
      assertEquals(assertThrows(() => parse({ ...V3, model_type: "mine", architectures }), LatentmeshError).code, "unsupported");
    }
  });

  it("takes null for false where a field may be left out, as transformers does", () => {
    const { moe, rope } = parse({ ...V3, norm_topk_prob: null, rope_interleave: null });
    assertEquals([moe!.normalize, rope.interleaved], [false, false]);
    const mistral = parse({ ...MISTRAL4, norm_topk_prob: null, rope_interleave: null });
    assertEquals([mistral.moe!.normalize, mistral.rope.interleaved], [false, false]);
    assertEquals(parse({ ...YOUTU, rope_interleave: null }).rope.interleaved, false);
  });

  it("reads GLM-4.7-Flash as the same architecture with a scale of its own, if its dense layers come first", () => {
    const { family, ...spec } = parse({ ...V3, model_type: "glm4_moe_lite", routed_scaling_factor: undefined });
    const { family: _, ...v3 } = parse(V3);
    assertEquals([family, spec], ["glm4_moe_lite", { ...v3, moe: { ...v3.moe!, routedScale: 1.8 } }]);
    const layers = (dense: number) => Array.from({ length: V3.num_hidden_layers }, (_, layer) => layer < dense ? "dense" : "sparse");
    const glm = (dense: number) => parse({ ...V3, model_type: "glm4_moe_lite", mlp_layer_types: layers(dense) });
    assertEquals(glm(V3.first_k_dense_replace).denseLayers, V3.first_k_dense_replace);
    assertThrows(() => glm(V3.first_k_dense_replace + 1), LatentmeshError, "mlp_layer_types");
  });

  it("reads A.X-K1 as DeepSeek-V3 with one norm more, by either of its names", () => {
    const { moe, ...v3 } = parse(V3);
    for (const change of [{ model_type: "axk1" }, { model_type: "AXK1" }, { model_type: "mine", architectures: ["AXK1ForCausalLM"] }]) {
      assertEquals(parse({ ...V3, ...change }), { ...v3, family: "axk1", moe: { ...moe!, outputNorm: true } });
    }
    assertEquals(parse({ ...V3, model_type: "axk1", n_routed_experts: null }).moe, null);
  });

  it("reads Mistral 4, whose queries grow with their position", () => {
    const spec = parse(MISTRAL4);
    assertEquals([spec.moe?.scoring, spec.moe?.groupScore, spec.moe?.correctionBias, spec.moe?.normalize], ["softmax", "top2", false, true]);
    assertEquals([spec.denseLayers, spec.queryScaling], [0, { beta: 0.1, span: 8192 }]);
    assertAlmostEquals(spec.attentionScale, 128 ** -0.5 * (0.1 * Math.log(128) + 1) ** 2, 1e-12);
    const factors = queryFactors(spec.queryScaling!, 3 * 8192);
    assertEquals([factors[0], factors[8191]], [1, 1]);
    assertAlmostEquals(factors[8192], 1 + 0.1 * Math.log(2), 1e-7);
    assertAlmostEquals(factors[3 * 8192 - 1], 1 + 0.1 * Math.log(3), 1e-7);
    const refused: [change: object, field: string][] = [
      [{ llama_4_scaling_beta: undefined }, "rope_parameters.llama_4_scaling_beta"],
      [{ original_max_position_embeddings: undefined }, "rope_parameters.original_max_position_embeddings"],
      [{ partial_rotary_factor: 0.25 }, "rope_parameters.partial_rotary_factor"],
    ];
    for (const [change, field] of refused) {
      const rope_parameters = { ...MISTRAL4.rope_parameters, ...change };
      assertEquals(assertThrows(() => parse({ ...MISTRAL4, rope_parameters }), LatentmeshError).param, field);
    }
    assertEquals(assertThrows(() => parse({ ...MISTRAL4, rope_parameters: null }), LatentmeshError).param, "rope_parameters");
    const { rope_parameters: rope_scaling, ...old } = MISTRAL4;
    assertEquals(parse({ ...old, rope_scaling }), spec);
  });

  it("reads LongCat-Flash, whose layers count twice and whose experts take a shortcut", () => {
    const spec = parse(LONGCAT_FLASH);
    assertEquals([spec.layers, spec.denseLayers, spec.denseWidth, spec.queryGain, spec.latentGain], [56, 56, 12288, 2, Math.sqrt(12)]);
    const { experts, activeExperts, identityExperts, normalize, routedScale, shortcut, sharedWidth } = spec.moe!;
    assertEquals([experts, activeExperts, identityExperts, normalize, routedScale, shortcut, sharedWidth], [512, 12, 256, false, 6, true, 0]);
    assertEquals([0, 1, 2, 3].map((layer) => isMoeLayer(spec, layer)), [true, false, true, false]);
    assertEquals(parse({ ...LONGCAT_FLASH, rope_theta: undefined, rope_parameters: undefined }).rope.theta, 1e7);
    // Where transformers has written it, which counts the layers of its cache.
    assertEquals(parse({ ...LONGCAT_FLASH, num_hidden_layers: 56 }), spec);
    const names = (["latentUp", "feedForwardNorm", "denseDown", "router"] as const).map((role) => tensorName(spec.tensorNames, role, { layer: 3 }));
    assertEquals(names, [
      "model.layers.1.self_attn.1.kv_b_proj.weight",
      "model.layers.1.post_attention_layernorm.1.weight",
      "model.layers.1.mlps.1.down_proj.weight",
      "model.layers.1.mlp.router.classifier.weight",
    ]);
    assertEquals(tensorName(spec.tensorNames, "expertUp", { layer: 2, expert: 7 }), "model.layers.1.mlp.experts.7.up_proj.weight");
    const refused: [change: object, field: string][] = [
      [{ num_hidden_layers: 30 }, "num_hidden_layers"],
      [{ moe_topk: 600 }, "moe_topk"],
      [{ zero_expert_type: "drop" }, "zero_expert_type"],
      [{ router_bias: true }, "router_bias"],
      [{ mla_scale_q_lora: false }, "mla_scale_q_lora"],
      [{ mla_scale_kv_lora: false }, "mla_scale_kv_lora"],
      [{ attention_method: "GQA" }, "attention_method"],
      [{ q_lora_rank: null }, "q_lora_rank"],
    ];
    for (const [change, field] of refused) assertEquals(assertThrows(() => parse({ ...LONGCAT_FLASH, ...change }), LatentmeshError).param, field);
  });

  it("reads the text model of a wrapper, whose fields and tensors lie deeper", () => {
    const wrapped = parse({ model_type: "mistral3", vision_config: {}, text_config: MISTRAL4 });
    const behindPrefix = (spec: ModelSpec) => ({ ...spec, tensorNames: prefixed(spec.tensorNames, "language_model.") });
    assertEquals(wrapped, behindPrefix(parse(MISTRAL4)));
    assertEquals(tensorName(wrapped.tensorNames, "attentionNorm", { layer: 4 }), "language_model.model.layers.4.input_layernorm.weight");
    assertEquals(parse({ model_type: "kimi_vl", vision_config: {}, text_config: V3 }), behindPrefix(parse(V3)));
    const kimi = {
      model_type: "kimi_k25",
      eos_token_id: 7,
      tie_word_embeddings: true,
      text_config: { ...V3, model_type: "kimi_k2", eos_token_id: undefined },
    };
    const spec = parse({ ...kimi, text_config: { ...kimi.text_config, eos_token_id: 9, tie_word_embeddings: false } });
    assertEquals([spec.eosTokens, spec.tieEmbeddings, parse(JSON.parse(JSON.stringify(kimi))).eosTokens], [[9], true, [7]]);
    const refused: [text_config: unknown, param: string][] = [
      [undefined, "text_config"],
      [7, "text_config"],
      [{ ...V3, model_type: "llama" }, "text_config.model_type"],
      [{ ...V3, model_type: "mistral3" }, "text_config.model_type"],
      [{ ...V3, hidden_size: undefined }, "text_config.hidden_size"],
      [{ ...V3, hidden_act: "gelu" }, "text_config.hidden_act"],
      [{ ...V3, quantization_config: { quant_method: "mxfp4" } }, "text_config.quantization_config.quant_method"],
    ];
    for (const [text_config, param] of refused) {
      assertEquals(assertThrows(() => parse({ model_type: "kimi_k25", text_config }), LatentmeshError).param, param);
    }
  });

  it("says what is missing of architectures that are known and not supported", () => {
    for (
      const [model_type, says] of [
        ["deepseek_v4", "compressed tokens"],
        ["glm5_next", "linear attention"],
        ["bailing_hybrid", "linear attention"],
        ["kimi_linear", "linear attention"],
        ["axk2", "sparse attention"],
        ["hy_v4", "sparse attention"],
        [
          "longcat_flash_ngram",
          "embeddings of several tokens",
        ],
      ]
    ) {
      // Whatever they were derived from.
      const error = assertThrows(() => parse({ ...V3, model_type, architectures: ["DeepseekV3ForCausalLM"] }), LatentmeshError, says);
      assertEquals([error.code, error.param], ["unsupported", "model_type"]);
    }
  });

  it("reads what shares a scale of FP8 weights", () => {
    const block = (quantization_config: object) => parse({ ...V3, quantization_config }).fp8Block;
    assertEquals(block({ quant_method: "fp8", weight_block_size: [128, 64] }), [128, 64]);
    assertEquals(block({ quant_method: "fp8", weight_block_size: null, activation_scheme: "static" }), "tensor");
    assertEquals(block(compressed(CHANNEL, CHANNEL).quantization_config), "channel");
    assertEquals(block(compressed({ ...CHANNEL, strategy: "tensor" }).quantization_config), "tensor");
    assertEquals(block(compressed({ ...CHANNEL, strategy: "block", block_structure: [128, 128] }).quantization_config), [128, 128]);
  });

  it("leaves tokens without a correction group alone: n_routed_experts null is a dense model", () => {
    const spec = parse({ ...V2_LITE, n_routed_experts: null });
    assertEquals([spec.moe, spec.denseLayers], [null, 27]);
  });

  const broken: [name: string, change: object, field: string, says: string][] = [
    ["an unknown architecture", { model_type: "llama" }, "model_type", `"llama" is not supported`],
    ["a missing field", { kv_lora_rank: undefined }, "kv_lora_rank", "is missing"],
    ["a missing q_lora_rank, which may be null but not absent", { q_lora_rank: undefined }, "q_lora_rank", "is missing"],
    ["a field of the wrong type", { hidden_size: "big" }, "hidden_size", "is not usable"],
    ["an odd rope width", { qk_rope_head_dim: 63 }, "qk_rope_head_dim", "pairs"],
    ["a query width that contradicts its parts", { qk_head_dim: 100 }, "qk_head_dim", "is 192"],
    ["fewer key heads", { num_key_value_heads: 4 }, "num_key_value_heads", "one per query head"],
    ["another activation", { hidden_act: "gelu" }, "hidden_act", `only "silu"`],
    ["attention biases", { attention_bias: true }, "attention_bias", "not supported"],
    ["a missing expert count", { num_experts_per_tok: undefined }, "num_experts_per_tok", "n_routed_experts is 64"],
    ["a missing count of shared experts", { n_shared_experts: undefined }, "n_shared_experts", "may be null or 0"],
    [
      "a missing count of groups, which transformers would guess",
      { model_type: "deepseek_v3", topk_method: undefined, n_group: undefined },
      "n_group",
      "is missing",
    ],
    ["group routing without groups", { topk_method: "group_limited_greedy", n_group: undefined }, "n_group", "is missing"],
    ["groups that do not divide the experts", { topk_method: "group_limited_greedy", n_group: 7 }, "n_group", "does not divide"],
    ["groups with too few experts", { topk_method: "group_limited_greedy", n_group: 32, topk_group: 1 }, "num_experts_per_tok", "hold only 2"],
    ["another routing method", { topk_method: "noaux_tc" }, "topk_method", "is not usable"],
    ["another rope", { rope_scaling: { type: "linear", factor: 2 } }, "rope_scaling.rope_type", "linear"],
    ["yarn without its factor", { rope_scaling: { type: "yarn", original_max_position_embeddings: 4096 } }, "rope_scaling.factor", "yarn needs it"],
    [
      "longrope without a list",
      { rope_scaling: { type: "longrope", short_factor: Array(32).fill(1) } },
      "rope_scaling.long_factor",
      "longrope needs it",
    ],
    [
      "longrope with a list of another length",
      { rope_scaling: { type: "longrope", short_factor: Array(31).fill(1), long_factor: Array(32).fill(1) } },
      "rope_scaling.short_factor",
      "31 factors for the 32 pairs",
    ],
    [
      "longrope of a context of one token",
      { rope_scaling: { type: "longrope", short_factor: Array(32).fill(1), long_factor: Array(32).fill(1), original_max_position_embeddings: 1 } },
      "rope_scaling.original_max_position_embeddings",
      "logarithm",
    ],
    ["two ropes that disagree", { rope_parameters: { rope_type: "yarn", factor: 2 } }, "rope_scaling", "contradicts"],
    ["two ropes of different kinds", { rope_parameters: { rope_type: "default" } }, "rope_scaling", `contradicts rope_parameters in "rope_type"`],
    [
      "two ropes of which one says less",
      { rope_parameters: { rope_type: "yarn", factor: 40, original_max_position_embeddings: 4096 } },
      "rope_scaling",
      `contradicts rope_parameters in "beta_fast"`,
    ],
    [
      "a rope for each kind of layer",
      { rope_scaling: { full_attention: { rope_type: "default" } } },
      "rope_scaling.full_attention",
      "kinds of layers",
    ],
    ["two original contexts", { original_max_position_embeddings: 2048 }, "original_max_position_embeddings", "that of rope_scaling is 4096"],
    ["a part of the rotated part", { partial_rotary_factor: 0.5 }, "partial_rotary_factor", "does not make qk_rope_head_dim (64)"],
    ["a part in the rope", { rope_scaling: { ...V2_LITE.rope_scaling, partial_rotary_factor: 0.5 } }, "rope_scaling.partial_rotary_factor", "(64)"],
    [
      "weights with zero points",
      compressed({ ...CHANNEL, symmetric: false }),
      "quantization_config.config_groups.group_0.weights",
      "asymmetric float",
    ],
    ["scales of groups", compressed({ ...CHANNEL, strategy: "group" }), "quantization_config.config_groups.group_0.weights.strategy", `is "group"`],
    [
      "blocks without a size",
      compressed({ ...CHANNEL, strategy: "block" }),
      "quantization_config.config_groups.group_0.weights.strategy",
      `is "block"`,
    ],
    ["scales of two kinds", compressed(CHANNEL, { ...CHANNEL, strategy: "tensor" }), "quantization_config.config_groups", "different kinds"],
    [
      "compressed-tensors without groups",
      { quantization_config: { quant_method: "compressed-tensors" } },
      "quantization_config.config_groups",
      "must say",
    ],
    ["FP8 without a block size", { quantization_config: { quant_method: "fp8" } }, "quantization_config.weight_block_size", "rows, columns"],
  ];
  for (const [name, change, field, says] of broken) {
    it(`refuses ${name}, naming field and file`, () => {
      const error = assertThrows(() => parse({ ...V2_LITE, ...change }), LatentmeshError, says);
      assertStringIncludes(error.message, "dir/config.json");
      assertEquals(error.param, field);
    });
  }

  it("refuses numbers that no model could have, whatever the field, and takes published ones", () => {
    for (const [field, value] of Object.entries(V3)) {
      if (typeof value !== "number") continue;
      for (const absurd of [2 ** 53, 1e308]) {
        const error = assertThrows(() => parse({ ...V3, [field]: absurd }), LatentmeshError);
        // Token ids are not sizes.
        if (!field.endsWith("token_id")) assertEquals([error.code, error.param], ["invalid_config", field], `${field}: ${absurd}`);
      }
    }
    for (const [field, value] of Object.entries(V2_LITE.rope_scaling)) {
      if (typeof value !== "number") continue;
      const error = assertThrows(() => parse({ ...V2_LITE, rope_scaling: { ...V2_LITE.rope_scaling, [field]: 1e308 } }), LatentmeshError);
      assertEquals(error.param, `rope_scaling.${field}`);
    }
    // Kimi-K2 has the largest sizes of all.
    parse({
      ...V3,
      vocab_size: 163840,
      hidden_size: 7168,
      num_hidden_layers: 61,
      num_attention_heads: 128,
      num_key_value_heads: 128,
      n_routed_experts: 384,
      n_group: 1,
      topk_group: 1,
      max_position_embeddings: 262144,
    });
  });

  it("names what is of the wrong kind even where it cannot be written", () => {
    const quantization_config = { quant_method: "fp8", fmt: [{ toString: "not a function" }], weight_block_size: [1, 1] };
    assertThrows(() => parse({ ...V3, quantization_config }), LatentmeshError, '"quantization_config.fmt" is not usable');
  });

  it("knows no architecture by the names that every object has", () => {
    for (const name of ["constructor", "toString", "__proto__", "x".repeat(1e6)]) {
      const error = assertThrows(() => parse({ ...V2_LITE, model_type: name }), LatentmeshError, "is not supported");
      assertEquals(error.message.length < 1000, true);
    }
  });

  it("refuses what is not a JSON object", () => {
    assertThrows(() => parseModelConfig("[1]", "x"), LatentmeshError, "not a JSON object");
    assertThrows(() => parseModelConfig("{", "x"), LatentmeshError, "not a JSON object");
  });
});
