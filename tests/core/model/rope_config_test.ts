import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { parse, V2_LITE } from "../../support/published_configs.ts";

describe("parseModelConfig, of ropes", () => {
  it("finds the original context beside the rope's other fields, and takes a share of heads that says the same", () => {
    const { original_max_position_embeddings, ...rope_scaling } = V2_LITE.rope_scaling;
    assertEquals(parse({ ...V2_LITE, rope_scaling, original_max_position_embeddings }), parse(V2_LITE));
    assertEquals(parse({ ...V2_LITE, original_max_position_embeddings }), parse(V2_LITE));
    for (const partial_rotary_factor of [null, 1, 64 / 192]) assertEquals(parse({ ...V2_LITE, partial_rotary_factor }), parse(V2_LITE));
    const { rope_scaling: _, ...plain } = V2_LITE;
    assertEquals(parse({ ...plain, original_max_position_embeddings: 7 }), parse(plain));
  });

  it("takes the new spelling of rope parameters for the old one", () => {
    const { rope_scaling: { type, ...scaling }, rope_theta, ...rest } = V2_LITE;
    assertEquals(parse({ ...rest, rope_parameters: { ...scaling, rope_type: type, rope_theta } }), parse(V2_LITE));
  });
});
