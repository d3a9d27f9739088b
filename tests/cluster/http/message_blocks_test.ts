import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { MessageBlocks } from "../../../cluster/http/anthropic/message_blocks.ts";
import { jsonBytes } from "../../../cluster/http/json.ts";

describe("blocks of a message", () => {
  it("have objects as what tools are called with, whatever a model has written", () => {
    for (
      const [written, input] of [['{"a": 1.0}', '{"a": 1.0}'], ["{}", "{}"], ["3", "{}"], ["[1]", "{}"], ["null", "{}"], ['"x"', "{}"], [
        '{"a": ',
        "{}",
      ]]
    ) {
      const blocks = new MessageBlocks();
      blocks.take({ kind: "call", index: 0, name: "f" });
      blocks.take({ kind: "arguments", index: 0, text: written });
      blocks.end();
      const [block] = blocks.blocks as [{ input: unknown }];
      assertEquals(new TextDecoder().decode(jsonBytes(block.input)), input, written);
    }
  });
});
