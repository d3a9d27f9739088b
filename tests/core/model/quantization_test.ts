/**
 * What `quantization_config` says of weights of four bits, as it is published, and what is refused.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { parse, V3 } from "../../support/published_configs.ts";

const QUANTIZATION = "quantization_config";

/** As Kimi-K2.5 has it. */
const KIMI = { actorder: null, block_structure: null, dynamic: false, group_size: 32, num_bits: 4, strategy: "group", symmetric: true, type: "int" };
const FP8 = { num_bits: 8, type: "float", strategy: "channel", symmetric: true };

/** With groups of compressed-tensors. */
function compressed(weights: readonly object[], more: object = {}) {
  const groups = weights.map((one, i) => [`group_${i}`, { input_activations: null, output_activations: null, targets: ["Linear"], weights: one }]);
  const ignore = ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"];
  return {
    quant_method: "compressed-tensors",
    format: "pack-quantized",
    ignore,
    kv_cache_scheme: null,
    config_groups: Object.fromEntries(groups),
    ...more,
  };
}

const AWQ = {
  quant_method: "awq",
  bits: 4,
  group_size: 128,
  zero_point: true,
  version: "gemm",
  modules_to_not_convert: ["self_attn.kv_a_proj_with_mqa"],
};
const GPTQ = { quant_method: "gptq", bits: 4, group_size: 128, desc_act: false, sym: true, checkpoint_format: "gptq" };

function int4Of(quantization_config: object) {
  const { fp8Block, int4 } = parse({ ...V3, quantization_config });
  assertEquals(fp8Block, null);
  return int4;
}

describe("quantization_config of weights of four bits", () => {
  it("is read from compressed-tensors: groups, rows, with and without zero points, several kinds at once, beside FP8", () => {
    const kind = "compressed-tensors" as const;
    assertEquals(int4Of(compressed([KIMI])), { kind, groups: [32], zeros: "none" });
    assertEquals(int4Of(compressed([KIMI], { transform_config: {} })), int4Of(compressed([KIMI], { transform_config: { config_groups: {} } })));
    assertEquals(int4Of(compressed([{ ...KIMI, actorder: "static", strategy: null, group_size: 128 }])), { kind, groups: [128], zeros: "none" });
    assertEquals(int4Of(compressed([{ ...KIMI, strategy: "channel", group_size: null }])), { kind, groups: [null], zeros: "none" });
    const asymmetric = { ...KIMI, symmetric: false };
    assertEquals(int4Of(compressed([asymmetric])), { kind, groups: [32], zeros: "all" });
    assertEquals(int4Of(compressed([asymmetric, { ...KIMI, group_size: 64 }])), { kind, groups: [32, 64], zeros: "some" });
    const mixed = compressed([KIMI, FP8], { format: "mixed-precision" });
    Object.assign(mixed.config_groups.group_0, { format: "pack-quantized" });
    const { fp8Block, int4 } = parse({ ...V3, quantization_config: mixed });
    assertEquals([fp8Block, int4], ["channel", { kind, groups: [32], zeros: "none" }]);
  });

  it("is read from AWQ", () => {
    assertEquals(int4Of(AWQ), { kind: "awq", group: 128 });
    assertEquals(int4Of({ ...AWQ, version: "GEMM", group_size: -1 }), { kind: "awq", group: null });
  });

  it("is read from GPTQ of both versions, whose zero points differ by one", () => {
    assertEquals(int4Of(GPTQ), { kind: "gptq", group: 128, zeroOffset: 1 });
    assertEquals(int4Of({ ...GPTQ, checkpoint_format: undefined }), { kind: "gptq", group: 128, zeroOffset: 1 });
    assertEquals(int4Of({ ...GPTQ, checkpoint_format: "gptq_v2", group_size: -1 }), { kind: "gptq", group: null, zeroOffset: 0 });
    assertEquals(int4Of({ ...GPTQ, desc_act: true, static_groups: true }), { kind: "gptq", group: 128, zeroOffset: 1 });
    assertEquals(int4Of({ ...GPTQ, desc_act: true }), { kind: "gptq", group: 128, zeroOffset: 1, reordered: true });
    assertEquals(int4Of({ ...GPTQ, desc_act: true, group_size: -1 }), { kind: "gptq", group: null, zeroOffset: 1 });
    assertEquals(int4Of(compressed([{ ...KIMI, actorder: "group" }])), { kind: "compressed-tensors", groups: [32], zeros: "none", reordered: true });
  });

  it("is read from AutoRound, which packs as GPTQ or AWQ does", () => {
    const autoRound = { quant_method: "auto-round", bits: 4, group_size: 128, data_type: "int", sym: true, packing_format: "auto_round:auto_gptq" };
    assertEquals(int4Of(autoRound), { kind: "gptq", group: 128, zeroOffset: 1 });
    assertEquals(int4Of({ ...autoRound, packing_format: "auto_round:auto_awq" }), { kind: "awq", group: 128 });
  });

  const refused: [name: string, quantization: object, field: string, says: string][] = [
    ["another method", { quant_method: "mxfp4" }, "quant_method", "shared exponents"],
    ["one that nobody knows", { quant_method: "toString" }, "quant_method", 'supported are "fp8"'],
    ["int of eight bits", compressed([{ ...KIMI, num_bits: 8 }]), "config_groups.group_0.weights", "int of 8 bits"],
    ["floats of four bits", compressed([{ ...KIMI, type: "float" }]), "config_groups.group_0.weights", "float of 4 bits"],
    ["four bits that are not packed", compressed([KIMI], { format: "int-quantized" }), "format", 'must be "pack-quantized"'],
    ["2:4 sparsity", compressed([KIMI], { sparsity_config: { format: "sparse-24-bitmask" } }), "sparsity_config.format", "sparse"],
    ["what says nothing of sparsity that can be read", compressed([KIMI], { sparsity_config: 3 }), "sparsity_config", "not usable"],
    [
      "transforms of activations",
      compressed([KIMI], { transform_config: { config_groups: { R4: { type: "hadamard", apply: [] } } } }),
      "transform_config.config_groups",
      `names "R4"`,
    ],
    ["Marlin's words", compressed([KIMI], { format: "marlin-24" }), "format", '"marlin-24"'],
    ["another order", compressed([{ ...KIMI, actorder: "random" }]), "config_groups.group_0.weights.actorder", `is "random"`],
    ["one scale for a whole matrix", compressed([{ ...KIMI, strategy: "tensor" }]), "config_groups.group_0.weights.strategy", `is "tensor"`],
    ["groups without a size", compressed([{ ...KIMI, group_size: null }]), "config_groups.group_0.weights.group_size", "is missing"],
    ["AWQ of other bits", { ...AWQ, bits: 3 }, "bits", "only 4"],
    ["AWQ in other words", { ...AWQ, version: "gemv" }, "version", 'only "gemm"'],
    ["AWQ without zero points", { ...AWQ, zero_point: false }, "zero_point", "only weights with zero points"],
    ["AWQ without a size of groups", { ...AWQ, group_size: undefined }, "group_size", "not usable"],
    [
      "AutoRound in words of its own",
      { quant_method: "auto-round", bits: 4, group_size: 128, packing_format: "auto_round" },
      "packing_format",
      "auto_awq",
    ],
    ["AutoRound of floats", { quant_method: "auto-round", bits: 4, group_size: 16, data_type: "nv_fp" }, "data_type", 'only "int"'],
    ["GPTQ of other bits", { ...GPTQ, bits: 8 }, "bits", "only 4"],
    ["GPTQ in other words", { ...GPTQ, checkpoint_format: "marlin" }, "checkpoint_format", '"gptq_v2"'],
  ];
  for (const [name, quantization_config, field, says] of refused) {
    it(`is refused by name: ${name}`, () => {
      const error = assertThrows(() => parse({ ...V3, quantization_config }), LatentmeshError, says);
      assertEquals([error.code, error.param], ["invalid_config", `${QUANTIZATION}.${field}`]);
    });
  }

  it("is refused where it cannot even be written", () => {
    for (const format of [{ toString: 1 }, ["x"]]) {
      assertThrows(
        () => parse({ ...V3, quantization_config: compressed([KIMI], { format }) }),
        LatentmeshError,
        `"${QUANTIZATION}.format" is not usable`,
      );
    }
    const strategy = { toString: 1 };
    assertThrows(() => parse({ ...V3, quantization_config: compressed([{ ...KIMI, strategy }]) }), LatentmeshError, "must say how");
  });
});
