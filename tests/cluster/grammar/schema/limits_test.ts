/**
 * Schemas that are nested, chained or named beyond anything that people write: each is refused in words that can be read, and takes little until it is.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertThrows } from "@std/assert";
import { UnsupportedSchema } from "../../../../cluster/grammar/schema/unsupported_schema.ts";
import { compile, smallTables } from "../../../support/grammar_driver.ts";

const tables = smallTables();
/** Characters of the longest message: a path, a keyword, what is wrong and a text that it quotes. */
const MOST_MESSAGE = 800;

function refused(schema: unknown, problem: string): string {
  const error = assertThrows(() => compile({ kind: "json", schema, strict: false }, tables), UnsupportedSchema, problem);
  assert(error.message.length <= MOST_MESSAGE, `${error.message.length} characters: ${error.message.slice(0, MOST_MESSAGE)}`);
  return error.message;
}

function held(schema: unknown): void {
  compile({ kind: "json", schema, strict: false }, tables);
}

/** `{"begin": {"begin": … inner …}}`, as text: objects of so many levels are not written by recursion. */
function nested(begin: string, end: string, levels: number, inner = "{}"): unknown {
  return JSON.parse(begin.repeat(levels) + inner + end.repeat(levels));
}

function chain(length: number, link: (next: object) => object, last: object): { $defs: object; $ref: string } {
  const $defs = Object.fromEntries(Array.from({ length }, (_, i) => [`d${i}`, i === length - 1 ? last : link({ $ref: `#/$defs/d${i + 1}` })]));
  return { $defs, $ref: "#/$defs/d0" };
}

describe("schemas beyond all limits", () => {
  it("are refused where they are nested too deeply, whatever they are nested in", () => {
    refused(nested('{"properties":{"日":', "}}", 19_000), "the schema at #/properties/日/properties");
    refused(nested('{"items":', "}", 20_000), "is nested too deeply: more than 512 levels of objects and lists");
    refused(nested('{"allOf":[', "]}", 20_000), "is nested too deeply");
    refused(nested('{"not":', "}", 20_000), "is nested too deeply");
    for (const value of ["const", "default", "x-own"]) refused({ [value]: nested("[", "]", 20_000, "") }, "is nested too deeply");
    refused({ enum: [nested('{"a":', "}", 20_000)] }, "is nested too deeply");
  });

  it("are held to up to that depth", () => {
    held(nested('{"properties":{"a":', "}}", 250));
    held(nested('{"items":', "}", 500));
    held(nested('{"allOf":[', "]}", 250));
    held(nested('{"anyOf":[', "]}", 250, '{"type":"null"}'));
    held(nested('{"oneOf":[', "]}", 250, '{"type":"null"}'));
    held(nested('{"not":', "}", 500, '{"type":"null"}'));
    held({ const: nested("[", "]", 500, "") });
    held({ enum: [nested('{"a":', "}", 500), 1] });
  });

  it("are refused where references follow references without end, and held to where there are only many", () => {
    held(chain(400, (next) => next, { type: "null" }));
    refused(
      chain(20_000, (next) => next, { type: "null" }),
      "at # is too complex: references and what combines schemas are nested more than 512 levels deep",
    );
    refused(chain(20_000, (next) => ({ not: next }), { type: "null" }), "are nested more than 512 levels deep");
  });

  it("are refused where the same that cannot be found out is asked for again and again", () => {
    const twice = (next: object) => ({ allOf: [next, next] });
    const { $defs, $ref } = chain(40, twice, { uniqueItems: true });
    refused({ $defs, not: { $ref } }, "at # is too complex: it combines schemas too often");
  });

  it("take memory as they are long, not as their paths are", () => {
    const parts = Object.fromEntries(Array.from({ length: 4000 }, (_, i) => [`p${i}`, { maxLength: i }]));
    const before = Deno.memoryUsage().heapUsed;
    const schema = { type: "object", properties: { ["x".repeat(200_000)]: { type: "object", properties: parts } } };
    const grammar = compile({ kind: "json", schema, strict: false }, tables);
    const taken = Deno.memoryUsage().heapUsed - before;
    // With a path for each part, 800 MB.
    assert(taken < 400 << 20, `${taken} bytes for ${grammar.bytes}`);
  });

  it("have identities of a length that people can read, also relative to each other", () => {
    const parts = Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`p${i}`, { $id: `${i}` }]));
    refused({ $id: `http://a.example/${"x".repeat(200_000)}/`, $defs: parts }, '"$id" at # comes to more than 2048 characters');
    refused(
      { $id: "http://a.example/", $defs: { a: { $id: `${"x/".repeat(900)}`, $defs: { b: { $id: "y/".repeat(900) } } } } },
      '"$id" at #/$defs/a/$defs/b',
    );
    // A search for the end of the line from each of these would never end.
    held({ $id: `http://a.example/${"#".repeat(200_000)}\n` });
  });

  it("are named by what can be read", () => {
    const long = "x".repeat(100_000);
    refused({ properties: { [long]: { type: "colour" } } }, '"type" at #/properties/xxx');
    refused(nested(`{"properties":{"${"y".repeat(50)}":`, "}}", 200, '{"type":"colour"}'), '"type" at #/properties/yyy');
    refused({ properties: { [long]: 5 } }, "is not a schema");
    refused({ pattern: long }, "it has 100000 characters");
    refused({ patternProperties: { [`${long}(`]: {} } }, "it has 100001 characters");
    refused({ format: long }, "which is not known");
    refused({ type: long }, "which is no type");
    refused({ type: { [long]: nested("[", "]", 100, "") } }, '"type" at # must be the name of a type');
    refused({ $ref: `#/${long}` }, "where there is nothing");
    refused({ $ref: `http://${long}` }, "outside of the schema");
    refused({ $ref: `#%${long}` }, "is not a reference");
  });

  it("have patterns that do not come to more than they are written", () => {
    for (const part of ["$", "(?=a)", "(?!)", "(?=a)a"]) {
      const often = Array.from({ length: 12 }).reduce<string>((whole) => `(?:${whole}){64}`, part);
      refused({ pattern: often }, "it comes to too many parts");
    }
    refused({ pattern: `${"(?:".repeat(4000)}a${")".repeat(4000)}` }, "nested too deeply");
    held({ pattern: `^(?:${"[ab]?".repeat(3000)})$` });
  });

  it("are refused as too complex where telling alternatives apart takes too long", () => {
    const names = Array.from({ length: 200 }, (_, i) => `p${i}`);
    const fan = (next: object) => ({ type: "object", properties: Object.fromEntries(names.map((name) => [name, next])), required: names });
    const { $defs, $ref } = chain(6, fan, { type: "string" });
    refused({ $defs, oneOf: [{ $ref, minProperties: 1 }, { $ref }] }, "at # is too complex: it takes too long to tell alternatives apart");
  });

  it("are held to where values are as many as those that each may be", () => {
    const values = Array.from({ length: 20_000 }, (_, i) => i);
    held({ const: values, items: { enum: values } });
    held({ const: values, contains: { enum: values }, minContains: 3 });
    held({ const: Object.fromEntries(values.slice(0, 8000).map((value) => [`k${value}`, value])), additionalProperties: { enum: values } });
    // Compared with each of a list, a value is written once.
    refused({ enum: values, const: Array.from({ length: 20_000 }, () => "x".repeat(20)) }, "cannot be fitted by any value");
  });
});
