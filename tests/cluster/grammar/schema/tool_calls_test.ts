/**
 * Calls that chance writes with a family's grammar: read again, their arguments fit the tool's schema, as ajv decides.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { Ajv } from "npm:ajv@8.17.1";
import { UnsupportedSchema } from "../../../../cluster/grammar/schema/unsupported_schema.ts";
import { AnswerParser } from "../../../../core/text/answers/answer_parser.ts";
import { argumentTypes } from "../../../../core/text/answers/argument_types.ts";
import { GLM_47_TOOLS } from "../../../../core/text/answers/formats/glm.ts";
import { type Tool, type ToolFormat, toolGrammar } from "../../../../core/text/answers/tool_format.ts";
import { Random } from "../../../../bench/support/random.ts";
import { compile, randomText, smallTables } from "../../../support/grammar_driver.ts";
import { TOOL_FORMATS } from "../../../support/tool_formats.ts";

const tables = smallTables();
const random = new Random();

const TOOLS: readonly Tool[] = [
  {
    name: "brew",
    strict: true,
    parameters: {
      type: "object",
      properties: {
        name: { type: "string", minLength: 2, maxLength: 5 },
        code: { type: "string", pattern: "^[A-Z]{2}-\\d+$" },
        kind: { enum: ["a<b", 'q"q', "ü", 3, null] },
        litres: { type: "number", minimum: 1, maximum: 9.5 },
        cups: { type: "integer", exclusiveMinimum: 0, maximum: 120 },
        either: { type: ["boolean", "null"] },
        list: { type: "array", items: { type: "string", maxLength: 3 }, maxItems: 3 },
        at: { type: "object", properties: { x: { type: "integer" } }, required: ["x"], additionalProperties: false },
      },
      required: ["code", "cups"],
      additionalProperties: false,
    },
  },
  {
    name: "fry",
    parameters: { type: "object", properties: { hot: { type: "boolean" } }, minProperties: 1, additionalProperties: { type: "integer" } },
  },
  { name: "wait", strict: true, parameters: { type: "object", properties: {}, additionalProperties: false } },
];
const ajv = new Ajv({ strict: false });
const validators = new Map(TOOLS.map(({ name, parameters }) => [name, ajv.compile(parameters as object)]));
const types = Object.fromEntries(TOOLS.map(({ name, parameters }) => [name, argumentTypes(parameters)]));

function calls(format: ToolFormat, text: string): { name: string; arguments: string }[] {
  const parser = new AnswerParser({ tools: format, reasoning: "no", types });
  const read: { name: string; arguments: string }[] = [];
  for (const part of [...Array.from(text).flatMap((piece) => parser.push(piece)), ...parser.finish()]) {
    if (part.kind === "call") read.push({ name: part.name, arguments: "" });
    else if (part.kind === "arguments") read[part.index].arguments += part.text;
    else throw new Error(`${part.kind} ${JSON.stringify(part.text)} in ${text}`);
  }
  return read;
}

describe("calls that are held to a schema", () => {
  for (const format of TOOL_FORMATS) {
    it(`fit it as ${format.name} models write them`, () => {
      const grammar = compile(toolGrammar(format, TOOLS, { kind: "required" }, { several: true }), tables);
      const called = new Set<string>();
      for (let i = 0; i < 40; i++) {
        const text = randomText(grammar, tables, random, 10 + 8 * i);
        const read = calls(format, text);
        assert(read.length > 0, text);
        for (const { name, arguments: json } of read) {
          const validate = validators.get(name)!;
          assert(validate(JSON.parse(json)), `${text}\n${json}\n${JSON.stringify(validate.errors)}`);
          called.add(name);
        }
      }
      assertEquals(called.size, TOOLS.length);
      const named = compile(toolGrammar(format, TOOLS, { kind: "tool", name: "wait" }, { several: true }), tables);
      const [waited, ...others] = calls(format, randomText(named, tables, random, 200));
      assertEquals([waited.name, JSON.parse(waited.arguments), others.length], ["wait", {}, 0]);
    });
  }

  it("may count on from earlier calls where they are numbered", () => {
    const kimi = TOOL_FORMATS.find(({ name }) => name === "kimi")!;
    const grammar = compile(toolGrammar(kimi, TOOLS, { kind: "tool", name: "wait" }, { several: false }), tables);
    const numbers = Array.from({ length: 20 }, () => /functions\.wait:(\d+)/.exec(randomText(grammar, tables, random, 200))![1]);
    assert(numbers.every((number) => String(Number(number)) === number) && new Set(numbers).size > 1, numbers.join());
  });

  it("are refused by place where only what ends a value would fit", () => {
    const tools = [{ name: "a", parameters: { properties: { b: { enum: ["x</arg_value>"] } }, required: ["b"] } }];
    const grammar = toolGrammar(GLM_47_TOOLS, tools, { kind: "required" }, { several: false });
    assertThrows(() => compile(grammar, tables), UnsupportedSchema, "#/properties/b");
  });
});
