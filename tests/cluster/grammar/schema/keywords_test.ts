/**
 * Keywords one by one: what each lets through, what it keeps out, and which are refused by name and place.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import type { CompiledGrammar } from "../../../../cluster/grammar/compiled_grammar.ts";
import { UnsupportedSchema } from "../../../../cluster/grammar/schema/unsupported_schema.ts";
import { compile, smallTables } from "../../../support/grammar_driver.ts";

const tables = smallTables();

function compiled(schema: unknown, strict = false): CompiledGrammar {
  return compile({ kind: "json", schema, strict }, tables);
}

function accepts(grammar: CompiledGrammar, text: string): boolean {
  const { automaton, start } = grammar;
  return automaton.accepts(automaton.run(start, new TextEncoder().encode(text)));
}

function check(schema: unknown, fits: readonly string[], not: readonly string[], strict = false): void {
  const grammar = compiled(schema, strict);
  for (const text of fits) assert(accepts(grammar, text), `${text} has to fit ${JSON.stringify(schema)}`);
  for (const text of not) assert(!accepts(grammar, text), `${text} must not fit ${JSON.stringify(schema)}`);
}

function refused(schema: unknown, message: string): void {
  assertThrows(() => compiled(schema), UnsupportedSchema, message);
}

describe("keywords", () => {
  it("group the alternatives of a pattern, and look for it anywhere", () => {
    check({ type: "string", pattern: "^ab|cd$" }, ['"ab"', '"abx"', '"xcd"'], ['"cdx"', '"xab"', '"ab', "ab"]);
    check({ type: "string", pattern: "b+" }, ['"abbc"', '"b"'], ['"ac"', '""']);
    check({ type: "string", pattern: "^[äé]+$" }, ['"äé"', '"\\u00e4"'], ['"ae"', '"\\u00e5"']);
    check({ type: "string", pattern: "^[a-z]*$", minLength: 2, maxLength: 3 }, ['"ab"', '"abc"'], ['"a"', '"abcd"', '"a1"']);
  });

  it("count escapes as one character, wherever lengths are bounded", () => {
    check({ type: "string", minLength: 2, maxLength: 3 }, ['"\\n\\""', '"\\u00e9\\ud83d\\ude00a"', '"日本語"'], [
      '"\\n"',
      '"abcd"',
      '"\\x"',
      '"a\nb"',
    ]);
  });

  it("let no text through whose least length is beyond its greatest, wherever both come from", () => {
    check({ type: "string", maxLength: 4, not: { pattern: "^[A-Z]", maxLength: 4 } }, ['"run"', '""'], ['"Run"', '"ABLE"']);
    check({ type: "string", maxLength: 6, if: { maxLength: 3 }, then: { minLength: 4 }, else: { pattern: "^x" } }, ['"xabc"'], ['"OfK"', '"abcd"']);
    check({ type: "string", maxLength: 5, if: { maxLength: 5 }, then: { pattern: "^[a-c]{1,3}$", maxLength: 5 } }, ['"abc"'], ['" cle:"', '""']);
    check({ anyOf: [{ type: "string", minLength: 3, maxLength: 2 }, { const: 1 }] }, ["1"], ['"Of"', '"abc"']);
    check({ type: "array", items: { type: "string", minLength: 3, maxLength: 2 } }, ["[]"], ['["ab"]', '["abc"]']);
    check({ type: "object", propertyNames: { minLength: 3, maxLength: 2 } }, ["{}"], ['{"ab":1}', '{"abc":1}']);
    check({ type: "object", properties: { a: { type: "string", minLength: 3, maxLength: 2 }, b: { const: 1 } }, required: ["b"] }, ['{"b":1}'], [
      '{"a":"Us","b":1}',
    ]);
    for (
      const none of [
        { type: "string", minLength: 3, maxLength: 2 },
        { allOf: [{ type: "string", minLength: 5 }, { maxLength: 3 }] },
        { type: "string", minLength: 3, maxLength: 3, not: { minLength: 3 } },
        { type: "string", pattern: "^a+$", minLength: 3, maxLength: 2 },
        { type: "string", oneOf: [{ maxLength: 4 }, { maxLength: 4 }], maxLength: 4 },
      ]
    ) refused(none, "cannot be fitted by any value");
  });

  it("refuse numbers that have become others before they were read", () => {
    for (const value of [Infinity, -Infinity, 9223372036854775807, [1, { a: 2 ** 53 }]]) {
      refused({ const: value }, "more digits than are exact");
      refused({ enum: ["a", value] }, "more digits than are exact");
    }
    for (const bound of ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]) {
      for (const type of ["integer", "number"]) refused({ type, [bound]: Infinity }, `"${bound}" at # is beyond the numbers that doubles hold`);
      refused({ [bound]: -Infinity }, "beyond the numbers");
      refused({ [bound]: NaN }, "beyond the numbers");
    }
    check({ enum: [2 ** 53 - 1, -0.5, 1e21] }, ["9007199254740991", "-0.5", "1e+21"], ["1"]);
  });

  it("bound numbers to the digit", () => {
    check({ type: "integer", minimum: 0, maximum: 120 }, ["0", "9", "99", "100", "120"], ["121", "-1", "-0", "1.0", "0120", "999"]);
    check({ type: "integer", minimum: -50, maximum: -7 }, ["-50", "-7", "-10"], ["-51", "-6", "7", "-5", "-0"]);
    check({ type: "integer", exclusiveMinimum: -3, exclusiveMaximum: 3 }, ["-2", "0", "2"], ["-3", "3"]);
    check({ type: "integer", minimum: 5, exclusiveMinimum: true }, ["6"], ["5"]);
    check({ type: "number", minimum: 0.25, maximum: 1.5 }, ["0.25", "0.3", "1", "1.5", "1.50", "1.49"], ["0.2", "0.249", "1.51", "2", "1e0"]);
    check({ type: "integer", multipleOf: 7, minimum: -20 }, ["0", "-14", "7", "7777"], ["1", "-21", "8"]);
    check({ type: ["integer", "string"], minimum: 3, maxLength: 1 }, ["3", "44", '"a"'], ["2", "3.5", '"ab"', "null"]);
    // The search for what fits takes several turns.
    check({ anyOf: [{ type: "integer", multipleOf: 997, minimum: 10_001, maximum: 10_966 }, { const: 1 }] }, ["1"], ["10967", "9970"]);
    check({ type: "string", pattern: "^(?=(?:(?!b)[a-c]{7})*$)(?=(?:[ac]{11})*$)[ac]{5}", maxLength: 100 }, [`"${"a".repeat(77)}"`], ['"aaaaaaa"']);
    check({ type: "number", allOf: [{ multipleOf: 4 }, { multipleOf: 6 }], maximum: 40 }, ["12", "36"], ["4", "6", "48"]);
  });

  it("write names as JSON does, and know them by any form", () => {
    const schema = {
      type: "object",
      properties: { 'a"b': { const: 1 }, "c\\d": { const: 2 }, "é": { const: 3 } },
      additionalProperties: { type: "null" },
    };
    check(schema, ['{"a\\"b": 1, "c\\\\d": 2, "é": 3, "x": null}', "{}"], ['{"\\u00e9": null}', '{"a\\"b": null}', '{"x": 1}']);
    check({ $defs: { "a/b~c": { const: 1 }, "100%": { const: 2 } }, anyOf: [{ $ref: "#/$defs/a~1b~0c" }, { $ref: "#/$defs/100%25" }] }, ["1", "2"], [
      "3",
    ]);
  });

  it("ask for properties, also such as no schema names", () => {
    check({ type: "object", required: ["a", "b"] }, ['{"a": 1, "b": 2}', '{"a": [], "b": {}, "c": 0}'], ["{}", '{"a": 1}', '{"b": 2}']);
    check(
      { type: "object", properties: { a: {}, b: {} }, minProperties: 1, maxProperties: 1, additionalProperties: false },
      ['{"a": 1}', '{"b": 1}'],
      [
        ...["{}", '{"a": 1, "b": 1}'],
      ],
    );
    check({ type: "object", patternProperties: { "^x": { type: "integer" }, "y$": { minimum: 5 } }, additionalProperties: false }, [
      '{"x": 1, "xy": 5}',
    ], [
      ...['{"xy": 4}', '{"xy": 5.5}', '{"a": 1}', '{"x": "a"}'],
    ]);
    check({ type: "object", propertyNames: { pattern: "^[a-c]+$", maxLength: 2 } }, ['{"ab": 1}'], ['{"d": 1}', '{"abc": 1}']);
    check({ type: "object", dependentRequired: { a: ["b"] }, properties: { a: {}, b: {} } }, ['{"b": 1}', '{"a": 1, "b": 1}', "{}"], ['{"a": 1}']);
    check({ type: "object", dependencies: { a: { properties: { b: { const: 1 } }, required: ["b"] } } }, ['{"b": 1, "a": 0}', '{"c": 0}'], [
      '{"a": 0}',
      '{"a": 0, "b": 2}',
    ]);
    const closed = { allOf: [{ properties: { a: {} } }, { properties: { b: {} } }], type: "object", unevaluatedProperties: false };
    check(closed, ['{"a": 1, "b": 2}'], ['{"c": 1}']);
  });

  it("count as evaluated only what a schema that fits speaks of", () => {
    const [a, b] = ["a", "b"].map((name) => ({ properties: { [name]: { type: "integer" } }, required: [name] }));
    const closed = { type: "object", unevaluatedProperties: false };
    check({ ...closed, oneOf: [a, b] }, ['{"a": 1}', '{"b": 1}'], ['{"a": 1, "b": "x"}', '{"a": 1, "b": 2}', '{"a": "x", "b": 1}', "{}"]);
    check({ ...closed, not: a }, ["{}"], ['{"a": "x"}', '{"a": 1}']);
    refused({ ...closed, not: { not: a } }, "cannot be fitted by any value");
    check({ ...closed, not: { not: a }, properties: { a: {} } }, ['{"a": 1}'], ['{"a": "x"}', '{"a": 1, "b": 1}', "{}"]);
    check({ ...closed, allOf: [a, { not: b }] }, ['{"a": 1}'], ['{"a": 1, "b": "x"}', '{"a": 1, "b": 1}']);
    const known = { properties: { a: { const: 1 } }, required: ["a"] };
    check({ ...closed, if: known, then: b, else: {} }, ['{"a": 1, "b": 2}', "{}"], ['{"a": 2}', '{"b": 2}', '{"a": 1}']);
    check({ ...closed, if: known, then: {}, else: {} }, ["{}"], ['{"a": 2}', '{"a": 1, "b": 1}']);
    check({ ...closed, unevaluatedProperties: { type: "null" }, oneOf: [a, b] }, ['{"a": 1, "b": null}'], ['{"a": 1, "b": "x"}']);
    check({ ...closed, dependentSchemas: { a: b }, properties: { a: {} } }, ['{"a": 0, "b": 1}', "{}"], ['{"b": 1}', '{"a": 0, "b": "x"}']);
  });

  it("are read by what patterns mean without the flag that they are none with", () => {
    check({ type: "string", pattern: "^.\\-$" }, ['"a-"', '"\\u00e4-"'], ['"😀-"', '"\\ud83d\\ude00-"', '"-"']);
    check({ type: "string", not: { pattern: "^..\\-$" } }, ['"a-"'], ['"aa-"', '"😀-"']);
    check({ type: "object", patternProperties: { "^..\\-$": false } }, ['{"a-": 1}'], ['{"aa-": 1}', '{"😀-": 1}']);
    check({ enum: ["a-", "😀-"], pattern: "^.{1,2}\\-$" }, ['"a-"'], ['"😀-"']);
    check({ enum: ["a-", "😀-"], not: { pattern: "^b\\-$" } }, ['"a-"'], ['"😀-"']);
    refused(
      { properties: { "😀-": {} }, patternProperties: { "^..\\-$": {} } },
      '"patternProperties" at # has "^..\\\\-$", of which it is not known',
    );
    refused({ pattern: "^\\p{L}\\-$" }, '"\\p{" means something else in a pattern that is none with the flag "u"');
    check({ oneOf: [{ type: "string", pattern: "\\-" }, { type: "string", maxLength: 3 }] }, ['"a-bc"', '"abc"'], ['"a-"', '"abcd"', '"😀-bc"']);
  });

  it("leave no names open where they are strict, unless a schema asks for it", () => {
    const schema = { type: "object", properties: { a: { type: "object" } } };
    check(schema, ['{"a": {"b": 1}, "c": 2}'], []);
    check(schema, ['{"a": {"b": 1}}'], ['{"a": {}, "c": 2}'], true);
    check({ ...schema, additionalProperties: { type: "integer" } }, ['{"c": 2}'], ['{"c": "x"}'], true);
    check({ allOf: [schema, { properties: { c: {} } }] }, ['{"a": {}, "c": 2}'], ['{"d": 2}'], true);
  });

  it("say what items there are, how many, and that they differ", () => {
    check({ type: "array", items: { type: "boolean" }, minItems: 1, maxItems: 2 }, ["[true]", "[true, false]", "[\n  true\n]"], [
      "[]",
      "[true,true,true]",
      "[1]",
    ]);
    check({ type: "array", prefixItems: [{ const: 1 }, { const: 2 }], items: false }, ["[]", "[1]", "[1, 2]"], ["[2]", "[1, 2, 3]"]);
    check({ type: "array", items: [{ const: 1 }], additionalItems: { const: 2 } }, ["[1, 2, 2]"], ["[2]", "[1, 1]"]);
    check({ type: "array", items: { type: "integer" }, contains: { minimum: 5 }, minContains: 2 }, ["[1, 5, 6]", "[5, 5, 1]"], ["[5, 1]", "[]"]);
    check({ type: "array", items: { enum: ["a", "b", 3] }, uniqueItems: true, minItems: 2 }, ['["b", "a"]', '[3, "a", "b"]'], [
      '["a"]',
      '["a", "a"]',
    ]);
  });

  it("combine schemas", () => {
    check({ allOf: [{ type: "string" }, { maxLength: 2 }, { pattern: "a" }] }, ['"ab"'], ['"bb"', '"aaa"', "1"]);
    check({ anyOf: [{ type: "integer" }, { type: "string" }], enum: [1, "a", null, 2.5] }, ["1", '"a"'], ["null", "2.5"]);
    check({ $defs: { s: { type: "string" } }, $ref: "#/$defs/s", maxLength: 1 }, ['"a"'], ['"ab"', "1"]);
    check({ type: "string", not: { enum: ["a", "é"] } }, ['"b"', '"aa"'], ['"a"', '"é"', '"\\u00e9"']);
    check({ type: "integer", not: { const: 5 } }, ["4", "6", "55"], ["5"]);
    check({ not: { type: ["object", "array", "string"] } }, ["1", "null"], ["{}", '"a"']);
    const kinds = ["a", "b"].map((kind) => ({
      properties: { kind: { const: kind }, [kind]: { type: "integer" } },
      required: ["kind"],
      type: "object",
    }));
    check({ oneOf: kinds }, ['{"kind": "a", "a": 1}', '{"kind": "b", "b": 2, "a": "x"}'], ['{"kind": "a", "a": "x"}', '{"kind": "c"}']);
    check({ type: "object", oneOf: [{ required: ["a"] }, { required: ["b"] }] }, ['{"a": 1}', '{"b": 1}'], ["{}", '{"a": 1, "b": 1}']);
    // Of what the second asks for, not all that fits is known.
    const unsure = { not: { allOf: [{ not: { const: 1 } }, { items: { type: "string" } }] } };
    const keyed = (k: object) => ({ type: "object", properties: { k }, required: ["k"] });
    check({ oneOf: [keyed({ const: [1, 1] }), keyed(unsure)] }, ['{"k": 1}'], ['{"k": [1, 1]}']);
    check({ oneOf: [{ const: [1, 1] }, unsure] }, ["1"], ["[1, 1]"]);
    check({ oneOf: [{ type: "number", multipleOf: 3 }, { type: "string" }] }, ["3", '"x"'], ["4"]);
    check({ oneOf: Array.from({ length: 300 }, (_, i) => ({ const: `v${i}`, title: "one" })) }, ['"v0"', '"v299"'], ['"v300"']);
    const condition = {
      type: "object",
      properties: { a: { type: "integer" }, b: {} },
      if: { properties: { a: { minimum: 5 } }, required: ["a"] },
      then: { required: ["b"] },
    };
    check(condition, ['{"a": 1}', '{"a": 5, "b": 0}', "{}"], ['{"a": 5}']);
  });

  it("may lead back to themselves", () => {
    const tree = {
      $defs: { node: { type: "object", properties: { next: { $ref: "#/$defs/node" }, list: { type: "array", items: { $ref: "#" } } } } },
      $ref: "#/$defs/node",
    };
    check(tree, ['{"next": {"next": {"list": [{}, {"next": {}}]}}}'], ['{"next": 1}', '{"list": [1]}'], true);
    check({ $id: "https://a.example/s", $defs: { b: { $anchor: "here", const: 1 } }, items: { $ref: "s#here" } }, ["[1, 1]", "2"], ["[2]"]);
  });

  it("are refused by name and place where they are not held to", () => {
    refused(
      { type: "object", properties: { tags: { type: "array", items: { type: "string" }, uniqueItems: true } } },
      '"uniqueItems" at #/properties/tags can only',
    );
    refused(
      { properties: { "a/b": { $ref: "http://x.example/y.json" } } },
      '"$ref" at #/properties/a~1b leads to "http://x.example/y.json", outside',
    );
    refused({ $ref: "#/$defs/missing" }, '"$ref" at # leads to "#/$defs/missing", where there is nothing');
    refused({ type: "colour" }, '"type" at # is "colour", which is no type');
    refused({ items: { format: "semver" } }, '"format" at #/items is "semver", which is not known');
    refused({ multipleOf: 0.01 }, '"multipleOf" at # is not a whole number');
    refused({ contains: {}, maxContains: 2 }, '"maxContains" at # is not supported');
    refused({ anyOf: [{ pattern: "(a)\\1" }] }, '"pattern" at #/anyOf/0 cannot be used: "\\1" is not supported');
    refused({ $dynamicRef: "#a" }, '"$dynamicRef" at # is not supported');
    refused({ unevaluatedItems: false }, '"unevaluatedItems" at # is not supported');
    refused({ oneOf: [{ minProperties: 1 }, { items: { type: "string" } }] }, '"oneOf" at # has alternatives 0 and 1, which may both fit');
    refused({ not: { items: { type: "string" } } }, '"not" at # asks for what no grammar here');
    refused({ exclusiveMaximum: 0.12345678901234567 }, '"exclusiveMaximum" at # has more than 15 digits');
    refused({ minLength: -1 }, '"minLength" at # must be a whole number');
    refused({ $defs: { a: { $ref: "#/$defs/b" }, b: { $ref: "#/$defs/a" } }, $ref: "#/$defs/a" }, "leads back to itself");
    refused({ allOf: [{ type: "string" }, { type: "integer" }] }, "the schema at # cannot be fitted by any value");
    refused({ $defs: { a: { type: "object", properties: { a: { $ref: "#/$defs/a" } }, required: ["a"] } }, $ref: "#/$defs/a" }, "cannot be fitted");
    const choices = Array.from({ length: 12 }, (_, i) => ({ anyOf: [{ required: [`a${i}`] }, { required: [`b${i}`] }] }));
    refused({ allOf: choices }, '"anyOf" at # comes to more than 512 combinations');
    const many = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`p${i}`, {}]));
    refused({ items: { properties: many } }, '"properties" at #/items names more than 4096');
    refused(
      { type: "object", oneOf: Array.from({ length: 100 }, (_, i) => ({ required: [`a${i}`] })) },
      '"oneOf" at # has too many alternatives that may both fit',
    );
    refused([], "is not a schema");
  });

  it("that only describe are left alone", () => {
    const described = {
      title: "t",
      description: "d",
      $comment: "c",
      default: 1,
      examples: [{ $ref: "nowhere" }],
      "x-internal": true,
      deprecated: true,
    };
    assertEquals(accepts(compiled({ ...described, type: "null" }), "null"), true);
  });
});
