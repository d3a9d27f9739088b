/**
 * Calls with hostile arguments in every family's form, streamed in random pieces.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { AnswerParser, type AnswerPart } from "../../../../core/text/answers/answer_parser.ts";
import { argumentTypes } from "../../../../core/text/answers/argument_types.ts";
import { THINK } from "../../../../core/text/answers/reasoning.ts";
import { markerOf, type ToolFormat, writeCalls } from "../../../../core/text/answers/tool_format.ts";
import { SEED } from "../../../../bench/support/random.ts";
import { TOOL_FORMATS } from "../../../support/tool_formats.ts";

/** What looks like the end of something in one form or another. */
const HOSTILE = [
  ...TOOL_FORMATS.flatMap((
    format,
  ) => [format.open, markerOf(format), format.callEnd, format.close, format.argumentsBegin, format.keyed?.value[1] ?? ""]),
  "</think>",
  "<think>",
  "[/THINK]",
  '"}',
  '\\"',
  "\\",
  "}]",
  "\u2028",
  "🫖",
  "\n\n",
  "<",
  "</arg",
  "true",
  "12",
  "null",
  "{}",
].filter((text) => text !== "");

const text = fc.array(fc.oneof(fc.constantFrom(...HOSTILE), fc.string({ unit: "grapheme", maxLength: 6 })), { maxLength: 5 })
  .map((parts) => parts.join("")).filter((text) => text.isWellFormed());
/** The one text that these forms have no way to write. */
const writable = (format: ToolFormat) => (text: string) => format.keyed?.texts !== "bare" || !text.includes(format.keyed.value[1]);

const TOOLS = {
  brew: {
    type: "object",
    properties: {
      text: { type: "string" },
      count: { type: "integer" },
      ratio: { type: "number" },
      hot: { type: "boolean" },
      list: { type: "array" },
      more: { $ref: "#/$defs/more" },
      maybe: { type: ["object", "null"] },
    },
    $defs: { more: { type: "object" } },
  },
  "get-weather_2": { type: "object", properties: { text: { type: "string" } } },
  empty: { type: "object", properties: {} },
};

function callsIn(format: ToolFormat) {
  const string = text.filter(writable(format));
  const json = fc.jsonValue({ maxDepth: 2, stringUnit: "grapheme" });
  const nested = fc.dictionary(text, fc.oneof(text, json), { maxKeys: 3 });
  const brew = fc.record({
    text: string,
    count: fc.integer(),
    ratio: fc.double({ noNaN: true, noDefaultInfinity: true }),
    hot: fc.boolean(),
    list: fc.array(fc.oneof(text, nested), { maxLength: 3 }),
    more: nested,
    maybe: fc.option(nested),
  }, { requiredKeys: [] });
  const call = fc.oneof(
    fc.record({ name: fc.constant("brew"), value: brew }),
    fc.record({ name: fc.constant("get-weather_2"), value: fc.record({ text: string }) }),
    fc.record({ name: fc.constant("empty"), value: fc.constant({}) }),
  );
  return fc.array(call.map(({ name, value }) => ({ name, arguments: JSON.stringify(value) })), { minLength: 1, maxLength: 4 });
}

interface Read {
  readonly content: string;
  readonly reasoning: string;
  readonly calls: readonly { readonly name: string; readonly arguments: unknown }[];
}

function read(format: ToolFormat, pieces: readonly string[], reasoning: "no" | "begun" = "no"): Read {
  const parser = new AnswerParser({
    tools: format,
    reasoning,
    marks: THINK,
    types: Object.fromEntries(Object.entries(TOOLS).map(([name, schema]) => [name, argumentTypes(schema)])),
  });
  const parts: AnswerPart[] = [...pieces.flatMap((piece) => parser.push(piece)), ...parser.finish()];
  const of = (kind: "content" | "reasoning") => parts.map((part) => part.kind === kind ? part.text : "").join("");
  const names = parts.filter((part) => part.kind === "call");
  assert(!parser.cut, "all calls are complete");
  return {
    content: of("content"),
    reasoning: of("reasoning"),
    calls: names.map(({ index, name }) => {
      const json = parts.map((part) => part.kind === "arguments" && part.index === index ? part.text : "").join("");
      return { name, arguments: JSON.parse(json) };
    }),
  };
}

const cuts = fc.array(fc.nat(10_000), { maxLength: 40 });
function cutInto(text: string, cuts: readonly number[]): string[] {
  const at = [0, ...cuts.map((cut) => cut % (text.length + 1)).toSorted((a, b) => a - b), text.length];
  return at.slice(1).map((end, i) => text.slice(at[i], end));
}
const parsed = (calls: readonly { name: string; arguments: string }[]) => calls.map((call) => ({ ...call, arguments: JSON.parse(call.arguments) }));

describe("tool calls", () => {
  for (const format of TOOL_FORMATS) {
    it(`of ${format.name} are the same calls after they were written and streamed, whatever their arguments hold`, () => {
      fc.assert(
        fc.property(callsIn(format), cuts, (calls, cuts) => {
          const written = writeCalls(format, calls);
          const meant = { content: "Well. ", reasoning: "hm", calls: parsed(calls) };
          assertEquals(read(format, cutInto(`hm</think>\nWell. ${written}`, cuts), "begun"), meant);
          assertEquals(read(format, [..."Well. " + written]), { ...meant, reasoning: "" });
        }),
        { seed: SEED, numRuns: 200 },
      );
    });

    it(`of ${format.name} leave the text around and between them alone`, () => {
      const call = { name: "brew", arguments: `{"text": "a", "hot": true}` };
      const written = writeCalls(format, [call, call]);
      // Some forms close the series, others may begin another call anywhere.
      const answer = `One.${written}\nTwo.${written}\n`;
      for (const pieces of [[answer], [...answer]]) {
        const { content, calls } = read(format, pieces);
        assertEquals(calls, parsed([call, call, call, call]));
        assertEquals(content, "One.\nTwo.");
      }
    });
  }

  it("of GLM are read in either of its layouts, and names that no schema has by what they look like", () => {
    const glm = TOOL_FORMATS.find(({ name }) => name === "glm-4.7")!;
    const answer = "<tool_call>brew\n<arg_key>text</arg_key>\n<arg_value>12</arg_value>\n<arg_key>odd</arg_key>\n<arg_value>12</arg_value>\n" +
      "<arg_key>name</arg_key><arg_value> an [odd text</arg_value></tool_call>\n<tool_call>empty</tool_call>";
    for (const pieces of [[answer], [...answer]]) {
      assertEquals(read(glm, pieces).calls, [
        { name: "brew", arguments: { text: "12", odd: 12, name: " an [odd text" } },
        { name: "empty", arguments: {} },
      ]);
    }
  });

  it("of Mistral may have names of their own, before or after their arguments", () => {
    const list = TOOL_FORMATS.find(({ name }) => name === "mistral-v7")!;
    const answer = `[TOOL_CALLS] [{"name": "brew", "arguments": {"text": "}"}, "id": "abcdefgh1"}, {"name": "empty", "arguments": {}}]`;
    assertEquals(read(list, [...answer]).calls, [{ name: "brew", arguments: { text: "}" } }, { name: "empty", arguments: {} }]);
    const marked = TOOL_FORMATS.find(({ name }) => name === "mistral-v13")!;
    const calls = `[TOOL_CALLS]brew[CALL_ID]abcdefgh1[ARGS]{"text": "]"}[TOOL_CALLS]empty[ARGS]{}`;
    assertEquals(read(marked, [...calls]).calls, [{ name: "brew", arguments: { text: "]" } }, { name: "empty", arguments: {} }]);
  });
});

describe("argument types", () => {
  it("are what a schema says plainly, and anything where it does not", () => {
    const types = argumentTypes({
      properties: {
        a: { type: "string", enum: ["x"] },
        b: { anyOf: [{ type: "string" }, { type: "null" }] },
        c: { enum: [1, "x"] },
        d: { $ref: "#/$defs/d" },
        e: {},
        f: { type: "number", allOf: [{ type: "integer" }] },
        g: { $ref: "#/properties/g" },
      },
      $defs: { d: { const: true } },
      allOf: [{ properties: { h: { type: "array" }, __proto__x: { type: "string" } } }],
    });
    assertEquals(types, {
      a: ["string"],
      b: ["null", "string"],
      c: ["integer", "string"],
      d: ["boolean"],
      f: ["integer"],
      h: ["array"],
      __proto__x: ["string"],
    });
  });
});
