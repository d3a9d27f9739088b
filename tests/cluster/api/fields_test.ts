import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { withoutNulls } from "../../../cluster/api/fields.ts";

describe("fields that are null", () => {
  it("are not given, but for those of the client's own objects, in which null says something", () => {
    const own = { a: null, b: [{ c: null }], d: { e: null } };
    const given = () => ({
      stop: null,
      messages: [{ content: "x", name: null, tool_calls: [{ index: null }] }],
      input: [{ type: "message", status: null }],
      tools: [{ strict: null, input_schema: structuredClone(own), input_examples: [structuredClone(own), { x: null }] }],
      logit_bias: { 1: null },
    });
    assertEquals(withoutNulls(given()), {
      messages: [{ content: "x", tool_calls: [{}] }],
      input: [{ type: "message" }],
      tools: [{ input_schema: own, input_examples: [own, { x: null }] }],
      logit_bias: { 1: null },
    });
  });
});
