/**
 * Grammars: whatever a model prefers, what comes out fits the schema; what is hostile costs its own request only.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Ajv2020 } from "npm:ajv@8.17.1/dist/2020.js";
import fc from "npm:fast-check@4.10.2";
import { afterReasoning } from "../../../cluster/grammar/after_reasoning.ts";
import type { GrammarConstraint, Grammars } from "../../../cluster/grammar/grammars.ts";
import { createGrammars } from "../../../cluster/http/app.ts";
import type { ServedModel, TokenEngine } from "../../../core/engine.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { DEEPSEEK_TOOLS, KIMI_TOOLS, PLAIN_TOOLS, toolGrammar, writeCalls } from "../../../core/text/answers/tool_format.ts";
import { readModelPackage, servedModel } from "../../../core/model_package.ts";
import { DirectoryFiles } from "../../../workers/model_files.ts";
import { fixtureDirectory } from "../../support/fixtures.ts";
import { Random, SEED } from "../../support/random.ts";

/** Schemas whose values end. */
const { schema } = fc.letrec<{ schema: object; leaf: object }>((tie) => ({
  leaf: fc.oneof(
    fc.constant({ type: "boolean" }),
    fc.constant({ type: "null" }),
    fc.tuple(fc.integer({ min: -50, max: 50 }), fc.nat(99)).map(([minimum, span]) => ({ type: "integer", minimum, maximum: minimum + span })),
    fc.uniqueArray(fc.oneof(fc.string({ maxLength: 8 }), fc.integer(), fc.boolean()), { minLength: 1, maxLength: 4 }).map((values) => ({
      enum: values,
    })),
    fc.constantFrom("^a.b$", "^[^x]{1,3}$", "^[ -~]{1,4}$", "^(\\D|\\S){1,3}$").map((pattern) => ({ type: "string", pattern })),
    fc.nat(6).map((maxLength) => ({ type: "string", maxLength })),
    fc.string({ maxLength: 8 }).map((value) => ({ const: value })),
  ),
  schema: fc.oneof(
    { depthSize: "small", maxDepth: 4 },
    tie("leaf"),
    fc.tuple(tie("schema"), fc.nat(2), fc.nat(2)).map(([items, minItems, more]) => ({ type: "array", items, minItems, maxItems: minItems + more })),
    fc.tuple(fc.dictionary(fc.stringMatching(/^[a-z_]{1,6}$/), tie("schema"), { maxKeys: 4, noNullPrototype: true }), fc.nat(15)).map((
      [properties, optional],
    ) => ({
      type: "object",
      properties,
      required: Object.keys(properties).filter((_, i) => ((optional >> i) & 1) === 0),
      additionalProperties: false,
    })),
    fc.array(tie("schema"), { minLength: 1, maxLength: 3 }).map((anyOf) => ({ anyOf })),
  ),
}));

describe("grammars", () => {
  let grammars: Grammars;
  let model: ServedModel;
  beforeAll(async () => {
    using files = new DirectoryFiles(fixtureDirectory("tiny-mla"));
    model = servedModel(await readModelPackage(files), { maxContext: 2048 } as TokenEngine);
    grammars = createGrammars(model);
  });
  afterAll(() => grammars[Symbol.dispose]());

  /** Whether a token is whole characters: models put parts of characters together to whole ones, which chance does not. */
  function isWhole(token: number): boolean {
    return !new TextDecoder().decode(model.tokenizer.bytesOf(token)).includes("\ufffd");
  }

  /** Takes any allowed tokens until the end may come, and then does. */
  async function anything(constraint: GrammarConstraint, random: Random): Promise<string> {
    const tokens: number[] = [];
    const [eos] = model.eosTokens;
    while (true) {
      await constraint.settled;
      const allowed: number[] = [];
      constraint.mask.forEach((word, i) => {
        for (let bit = 0; bit < 32; bit++) if ((word >>> bit) & 1 && isWhole(i * 32 + bit)) allowed.push(i * 32 + bit);
      });
      assert(allowed.length > 0, `nothing may follow ${model.tokenizer.decode(tokens, { skipSpecial: true })}`);
      if (allowed.includes(eos)) return model.tokenizer.decode(tokens, { skipSpecial: true });
      const token = allowed[random.below(allowed.length)];
      tokens.push(token);
      assert(tokens.length < 2000, "it never ends");
      constraint.accept(token);
    }
  }

  it("lets only what fits 200 random schemas come out, whatever the model prefers", async () => {
    const validator = new Ajv2020({ strict: false });
    const random = new Random();
    await fc.assert(
      fc.asyncProperty(schema, async (schema) => {
        using constraint = await grammars.constrain({ kind: "json_schema", schema: JSON.stringify(schema), strict: true });
        const text = await anything(constraint, random);
        const value = JSON.parse(text);
        assert(validator.validate(schema, value), `${text} does not fit ${JSON.stringify(schema)}`);
      }),
      { seed: SEED, numRuns: 200 },
    );
  });

  /** Says a text, which the grammar has to allow token by token. @returns whether the answer may end after it */
  async function say(constraint: GrammarConstraint, text: string): Promise<boolean> {
    const allows = (token: number) => ((constraint.mask[token >>> 5] >>> (token & 31)) & 1) === 1;
    for (const token of model.tokenizer.encode(text, { special: false })) {
      await constraint.settled;
      assert(allows(token), `${text}: token ${token}`);
      constraint.accept(token);
    }
    await constraint.settled;
    return allows(model.eosTokens[0]);
  }

  const oneBoolean = { type: "object", properties: { a: { type: "boolean" } }, required: ["a"] };

  it("lets a model think to the end before its answer has a form", async () => {
    const grammar = afterReasoning({ kind: "json_schema", schema: JSON.stringify(oneBoolean), strict: true });
    using constraint = await grammars.constrain(grammar);
    assert(!await say(constraint, "hm, {1} or"));
    assert(!await say(constraint, "</think>"));
    assert(await say(constraint, `{"a": true}`));
  });

  for (const format of [DEEPSEEK_TOOLS, KIMI_TOOLS, PLAIN_TOOLS]) {
    it(`lets calls come out as ${format.name} models write them`, async () => {
      const tools = ["boil", "fry"].map((name) => ({ name, parameters: oneBoolean }));
      const fry = { name: "fry", arguments: `{"a": true}` };
      for (const choice of [{ kind: "tool", name: "fry" }, { kind: "required" }, { kind: "auto" }] as const) {
        const tag = toolGrammar(format, tools, choice, { several: true });
        using constraint = await grammars.constrain({ kind: "structural_tag", tag });
        assertEquals(await say(constraint, ""), choice.kind === "auto", "an answer without calls");
        assert(await say(constraint, writeCalls(format, [fry])), "an answer of one call");
      }
      const tag = toolGrammar(format, tools, { kind: "required" }, { several: true });
      using constraint = await grammars.constrain({ kind: "structural_tag", tag });
      // A grammar cannot number calls.
      assert(await say(constraint, writeCalls(format, [fry, { ...fry, name: "boil" }]).replace("boil:1", "boil:0")), "an answer of two");
    });
  }

  it("refuses what is wrong, hostile or huge, and others go on", async () => {
    using neighbour = await grammars.constrain({
      kind: "json_schema",
      schema: `{"type":"array","items":{"type":"boolean"},"minItems":6,"maxItems":6}`,
      strict: true,
    });
    const refused = (schema: string, problem: string) =>
      assertRejects(() => grammars.constrain({ kind: "json_schema", schema, strict: true }), LatentmeshError, problem);
    const properties = Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`p${i}`, { type: "number" }]));
    const generation = anything(neighbour, new Random());
    const answers = await Promise.all([
      refused(`{"type":"colour"}`, `Unsupported type "colour"`),
      refused(`{`, "Failed to parse JSON"),
      refused(JSON.stringify({ type: "string", pattern: 'a"b' }), "has quotes or backslashes"),
      refused(`{"$ref":"#/$defs/missing"}`, "Cannot find field"),
      refused(JSON.stringify({ type: "object", properties }), "it takes longer than"),
      refused(`{"type":"object","properties":{"a":`.repeat(200) + "{}" + "}}".repeat(200), "Cannot use this grammar"),
      refused(JSON.stringify({ const: "x".repeat(1 << 16) }), "characters; the most are"),
    ]);
    assert(answers.every(({ code }) => code === "invalid_request"), "all are the client's fault");
    assertEquals(JSON.parse(await generation).length, 6);
  });

  it("goes on from the tokens so far where another grammar takes the thread down", async () => {
    const schema = `{"type":"array","items":{"type":"boolean"},"minItems":40,"maxItems":40}`;
    const constraints = await Promise.all([1, 2, 3].map(() => grammars.constrain({ kind: "json_schema", schema, strict: true })));
    const texts = constraints.slice(1).map((constraint, i) => anything(constraint, new Random(i)));
    // A token that cannot be: the thread has to be given up.
    constraints[0].accept(model.eosTokens[0] + 1);
    await assertRejects(() => constraints[0].settled!, LatentmeshError);
    for (const text of await Promise.all(texts)) assertEquals(JSON.parse(text).length, 40);
    for (const constraint of constraints) constraint[Symbol.dispose]();
  });
});
