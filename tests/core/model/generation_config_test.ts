import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { parseGenerationConfig } from "../../../core/model/generation_config.ts";

const parse = (fields: object) => parseGenerationConfig(JSON.stringify(fields), "dir/generation_config.json");

describe("parseGenerationConfig", () => {
  it("takes what a checkpoint asks for", () => {
    const { sampling, eosTokens } = parse({ temperature: 0.6, top_p: 0.95, repetition_penalty: 1.1, eos_token_id: [1, 2] });
    assertEquals([sampling, eosTokens], [{ temperature: 0.6, topP: 0.95, repetitionPenalty: 1.1 }, [1, 2]]);
    assertEquals(parse({ do_sample: false, temperature: 0.6, eos_token_id: 1 }), { sampling: {}, eosTokens: [1] });
    assertEquals(parseGenerationConfig(null, "x"), { sampling: {}, eosTokens: [] });
  });

  it("refuses what would make nonsense of logits, naming the field", () => {
    for (
      const [field, value] of Object.entries({
        temperature: 1e300,
        top_p: 0,
        repetition_penalty: 1e-39,
        eos_token_id: new Array(2000).fill(1),
        top_k: 1.5,
      })
    ) {
      assertThrows(() => parse({ [field]: value }), LatentmeshError, `"${field}" is not usable`);
    }
    assertThrows(() => parseGenerationConfig("{", "x"), LatentmeshError, "it is not JSON");
  });
});
