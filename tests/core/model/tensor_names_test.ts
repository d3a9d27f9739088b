import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { attentionNames, DEEPSEEK_NAMES, prefixed, tensorName, type TensorNames, type TensorRole } from "../../../core/model/tensor_names.ts";

describe("names of tensors", () => {
  it("are those of one layer, pair of layers and expert", () => {
    assertEquals(tensorName(DEEPSEEK_NAMES, "head"), "lm_head.weight");
    assertEquals(tensorName(DEEPSEEK_NAMES, "queryDown", { layer: 12 }), "model.layers.12.self_attn.q_a_proj.weight");
    assertEquals(tensorName(DEEPSEEK_NAMES, "expertDown", { layer: 0, expert: 255 }), "model.layers.0.mlp.experts.255.down_proj.weight");
    const paired: TensorNames = { ...DEEPSEEK_NAMES, ...attentionNames("blocks.{pair}.attention{half}") };
    const query = (layer: number) => tensorName(paired, "query", { layer });
    assertEquals([0, 1, 2, 7].map(query), [0, 0, 1, 3].map((pair, i) => `blocks.${pair}.attention${[0, 1, 0, 1][i]}.q_proj.weight`));
  });

  it("are not made up where a place is missing or a family asks for one that there is not", () => {
    assertEquals(assertThrows(() => tensorName(DEEPSEEK_NAMES, "router"), LatentmeshError, "there is no {layer} of it").code, "internal");
    assertThrows(() => tensorName(DEEPSEEK_NAMES, "expertUp", { layer: 3 }), LatentmeshError, "there is no {expert} of it");
    assertThrows(() => tensorName({ ...DEEPSEEK_NAMES, head: "{shard}.head" }, "head", { layer: 1, expert: 1 }), LatentmeshError, "{shard}");
  });

  it("differ between roles, are all behind a prefix, and are plain data", () => {
    const names = Object.keys(DEEPSEEK_NAMES).map((role) => tensorName(DEEPSEEK_NAMES, role as TensorRole, { layer: 1, expert: 2 }));
    assertEquals(new Set(names).size, names.length);
    const behind = prefixed(DEEPSEEK_NAMES, "text.");
    for (const role of Object.keys(DEEPSEEK_NAMES) as TensorRole[]) assertEquals(behind[role], `text.${DEEPSEEK_NAMES[role]}`);
    assertEquals(JSON.parse(JSON.stringify(behind)), behind);
  });
});
