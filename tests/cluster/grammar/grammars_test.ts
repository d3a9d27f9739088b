/**
 * Grammars in their thread, over the embedded model's vocabulary: whatever a model prefers, what comes out fits; what is hostile costs its own request only.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { GrammarConstraint, RunningGrammar } from "../../../cluster/grammar/running_grammar.ts";
import { Grammars } from "../../../cluster/grammar/grammars.ts";
import { writeGrammar } from "../../../cluster/grammar/written_grammar.ts";
import { createGrammars } from "../../../cluster/text/model_grammars.ts";
import type { ServedModel, TokenEngine } from "../../../core/engine.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import type { AnswerGrammar } from "../../../core/text/answers/answer_grammar.ts";
import { PLAIN_TOOLS } from "../../../core/text/answers/formats/plain.ts";
import { toolGrammar, writeCalls } from "../../../core/text/answers/tool_format.ts";
import { TOOL_FORMATS } from "../../support/tool_formats.ts";
import { readModelPackage, servedModel } from "../../../core/model_package.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";
import { allows } from "../../support/grammar_driver.ts";
import { Random } from "../../../bench/support/random.ts";

describe("grammars", () => {
  let grammars: Grammars;
  let model: ServedModel;
  beforeAll(async () => {
    using files = new DirectoryFiles(fixtureDirectory("tiny-mla"));
    model = servedModel(await readModelPackage(files), { maxContext: 2048 } as TokenEngine);
    grammars = createGrammars(model);
  });
  afterAll(() => grammars[Symbol.dispose]());

  async function constrain(grammar: AnswerGrammar, client = ""): Promise<GrammarConstraint> {
    const [constraint] = await grammars.constrain(writeGrammar(grammar), { count: 1, client });
    return constraint;
  }
  const json = (schema: unknown, strict = true): AnswerGrammar => ({ kind: "json", schema, strict });

  /** Takes any allowed tokens until the end may come, and then does. */
  async function anything(constraint: GrammarConstraint, random: Random): Promise<string> {
    const tokens: number[] = [];
    const [eos] = model.eosTokens;
    while (true) {
      await constraint.settled;
      const allowed = Array.from({ length: model.vocabSize }, (_, token) => token).filter((token) => allows(constraint.mask, token));
      assert(allowed.length > 0, `nothing may follow ${model.tokenizer.decode(tokens, { skipSpecial: true })}`);
      if (allowed.includes(eos)) return model.tokenizer.decode(tokens, { skipSpecial: true });
      const token = allowed[random.below(allowed.length)];
      tokens.push(token);
      assert(tokens.length < 2000, "it never ends");
      constraint.accept(token);
    }
  }

  /** Says a text, which the grammar has to allow token by token. @returns whether the answer may end after it */
  async function say(constraint: GrammarConstraint, text: string): Promise<boolean> {
    for (const token of model.tokenizer.encode(text, { special: false })) {
      await constraint.settled;
      assert(allows(constraint.mask, token), `${text}: token ${token}`);
      constraint.accept(token);
    }
    await constraint.settled;
    return allows(constraint.mask, model.eosTokens[0]);
  }

  const oneBoolean = { type: "object", properties: { a: { type: "boolean" } }, required: ["a"], additionalProperties: false };

  it("know ahead what they allow behind tokens that may come, and nothing of those that may not", async () => {
    const schema = { type: "object", properties: { a: { type: "integer" } }, required: ["a"], additionalProperties: false };
    const [one, other] = [await constrain(json(schema)), await constrain(json(schema))] as RunningGrammar[];
    const tokens = model.tokenizer.encode('{"a":12}', { special: false });
    await one.foresight.foresee([...tokens.slice(0, -1), ...model.tokenizer.encode("x", { special: false }), ...tokens]);
    assertEquals(one.foresight.known, tokens.length - 1);
    for (let i = 0; i < tokens.length; i++) {
      await other.settled;
      assertEquals(one.maskBehind(tokens.slice(0, i)), other.mask);
      other.accept(tokens[i]);
    }
    // What is asked before a token is taken is forgotten with it, whether its answer has come or not.
    const asked = one.foresight.foresee(tokens.slice(0, 3));
    one.accept(tokens[0]);
    await asked;
    await one.settled;
    assertEquals(one.foresight.known, 0);
    await one.foresight.foresee(tokens.slice(1, 3));
    assertEquals(one.foresight.known, 2);
    // Nobody is left waiting, for a mask neither.
    one.accept(tokens[1]);
    const waiting = [one.settled, one.foresight.foresee(tokens.slice(2, 3))];
    for (const constraint of [one, other]) constraint[Symbol.dispose]();
    await Promise.all(waiting);
  });

  it("follow tokens in their order where many are taken at once, as of an answer that goes on", async () => {
    const words = Array.from({ length: 60 }, (_, i) => ({ a: i % 2 === 0, b: `word ${i}` }));
    const fields = { a: { type: "boolean" }, b: { type: "string", maxLength: 12 } };
    const items = { type: "object", properties: fields, required: ["a", "b"], additionalProperties: false };
    const grammar = json({ type: "array", items, maxItems: 80 });
    const tokens = model.tokenizer.encode(JSON.stringify(words).slice(0, -9), { special: false });
    // What is found out for the first time takes more than a turn.
    const atOnce = await grammars.constrain(writeGrammar(grammar), { count: 4, client: "" });
    for (const constraint of atOnce) for (const token of tokens) constraint.accept(token);
    await Promise.all(atOnce.map(({ settled }) => settled));
    using slow = await constrain(grammar);
    for (const token of tokens) {
      slow.accept(token);
      await slow.settled;
    }
    for (const constraint of atOnce) {
      assertEquals(constraint.mask, slow.mask);
      constraint[Symbol.dispose]();
    }
  });

  it("let only what fits come out, whatever the model prefers", async () => {
    using constraint = await constrain(json({ type: "array", items: oneBoolean, minItems: 3, maxItems: 3 }));
    const value: { a: boolean }[] = JSON.parse(await anything(constraint, new Random()));
    assert(value.length === 3 && value.every(({ a }) => typeof a === "boolean"), JSON.stringify(value));
  });

  it("are followed by each of several answers by itself", async () => {
    const constraints = await grammars.constrain(writeGrammar(json({ enum: ["one", "two"] })), { count: 2, client: "" });
    assertEquals([await say(constraints[0], '"one"'), await say(constraints[1], '"tw')], [true, false]);
    for (const constraint of constraints) constraint[Symbol.dispose]();
  });

  it("let a model think to the end before its answer has a form", async () => {
    using constraint = await constrain({ kind: "reasoned", marker: "</think>", then: json(oneBoolean) });
    assert(!await say(constraint, "hm, {1} or </thin"));
    assert(!await say(constraint, "g</think>\n\n"));
    assert(await say(constraint, `{"a": true}`));
  });

  for (const format of TOOL_FORMATS) {
    it(`let calls come out as ${format.name} models write them`, async () => {
      const tools = ["boil", "fry"].map((name) => ({ name, parameters: oneBoolean }));
      const fry = { name: "fry", arguments: `{"a": true}` };
      for (const choice of [{ kind: "tool", name: "fry" }, { kind: "required" }, { kind: "auto" }] as const) {
        using constraint = await constrain(toolGrammar(format, tools, choice, { several: true }));
        assertEquals(await say(constraint, ""), choice.kind === "auto", "an answer without calls");
        if (choice.kind === "auto") assert(await say(constraint, "I will <fry. "), "text");
        assert(await say(constraint, writeCalls(format, [fry])), "an answer of one call");
      }
      using constraint = await constrain(toolGrammar(format, tools, { kind: "required" }, { several: true }));
      assert(await say(constraint, writeCalls(format, [fry, { ...fry, name: "boil" }, fry])), "an answer of three");
      using single = await constrain(toolGrammar(format, tools, { kind: "required" }, { several: false }));
      assert(await say(single, writeCalls(format, [fry])), "an answer of one");
      assert(!allows(single.mask, model.tokenizer.encode("\n", { special: false })[0]), "and no more");
    });
  }

  it("refuse what is wrong, hostile or huge, by name and place, and others go on", async () => {
    using neighbour = await constrain(json({ type: "array", items: { type: "boolean" }, minItems: 6, maxItems: 6 }));
    const refused = (schema: unknown, problem: string) => assertRejects(() => constrain(json(schema), "hostile"), LatentmeshError, problem);
    const generation = anything(neighbour, new Random());
    const answers = await Promise.all([
      refused({ type: "colour" }, `"type" at # is "colour", which is no type`),
      refused({ items: { $ref: "http://a.example/b" } }, `"$ref" at #/items leads to "http://a.example/b", outside of the schema`),
      refused(
        { type: "string", pattern: "^(?=(?:..)*$)(?=(?:.{997})*$)(?=.(?:.{991})*$)(?=..(?:.{983})*$)" },
        "the schema at # is too complex: it takes too long",
      ),
      refused({ const: "x".repeat(1 << 19) }, "characters; the most are"),
      refused(JSON.parse(`${'{"properties":{"日":'.repeat(19_000)}{}${"}}".repeat(19_000)}`), "is nested too deeply: more than 512 levels"),
      refused(
        { allOf: Array.from({ length: 2000 }, (_, i) => ({ anyOf: [{ required: [`a${i}`] }, { required: [`b${i}`] }] })) },
        "more than 512 combinations",
      ),
    ]);
    assert(answers.every(({ code, param }) => code === "invalid_request" && param === "response_format"), "all are the client's fault");
    assertEquals(JSON.parse(await generation).length, 6);
    const tools = [{ name: "boil", parameters: { properties: { a: { format: "kettle" } } } }];
    const tool = () => constrain(toolGrammar(PLAIN_TOOLS, tools, { kind: "auto" }, { several: true }));
    const error = await assertRejects(tool, LatentmeshError, `the parameters of "boil": "format" at #/properties/a is "kettle", which is not known`);
    assertEquals(error.param, "tools");
  });

  it("of many long strings are there at once", async () => {
    // With masks of every state made beforehand, this took minutes.
    const properties = Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`p${i}`, { type: "string", maxLength: 10_000 }]));
    using constraint = await constrain(json({ type: "object", properties, required: ["p899"] }));
    assert(await say(constraint, `{"p7": "a", "p899": "b"}`));
  });

  it("end the answer that a token does not fit, and no other", async () => {
    const schema = { type: "array", items: { type: "boolean" }, minItems: 40, maxItems: 40 };
    const constraints = await grammars.constrain(writeGrammar(json(schema)), { count: 3, client: "" });
    const texts = constraints.slice(1).map((constraint, i) => anything(constraint, new Random(i)));
    constraints[0].accept(model.tokenizer.encode("x", { special: false })[0]);
    await assertRejects(() => constraints[0].settled!, LatentmeshError, "does not fit");
    constraints[0].accept(5);
    await assertRejects(() => constraints[0].settled!, LatentmeshError, "does not fit");
    for (const text of await Promise.all(texts)) assertEquals(JSON.parse(text).length, 40);
    for (const constraint of constraints) constraint[Symbol.dispose]();
  });

  it("are not waited for without end by one client, while others are served", async () => {
    const many = Array.from({ length: 257 }, (_, i) => constrain(json({ const: i }), "greedy"));
    const other = constrain(json({ const: "other" }), "other");
    await assertRejects(() => many[256], LatentmeshError, "256 grammars of this client are waited for already");
    for (const opened of [other, ...many.slice(0, 256)]) (await opened)[Symbol.dispose]();
    (await constrain(json({ const: 0 }), "greedy"))[Symbol.dispose]();
  });

  it("are given up when nobody waits for them any more, and leave nothing that counts", async () => {
    const written = writeGrammar(json({ const: "never asked for before" }));
    const abort = new AbortController();
    const asked = Array.from({ length: 200 }, () => grammars.constrain(written, { count: 2, client: "fickle", signal: abort.signal }));
    abort.abort();
    for (const one of asked) await assertRejects(() => one, LatentmeshError, "cancelled");
    const again = await Promise.all(Array.from({ length: 200 }, () => grammars.constrain(written, { count: 1, client: "fickle" })));
    for (const [constraint] of again) constraint[Symbol.dispose]();
  });

  it("begin nothing after the end", async () => {
    let asked = 0;
    const others = new Grammars(() => {
      asked++;
      return Promise.reject(new Error("not to be asked"));
    });
    others[Symbol.dispose]();
    await assertRejects(() => others.constrain(writeGrammar(json({})), { count: 1, client: "" }), LatentmeshError, "stopping");
    assertEquals(asked, 0);
  });

  it("end with the server", async () => {
    const others = createGrammars(model);
    const [running] = await others.constrain(writeGrammar(json({})), { count: 1, client: "" });
    running.accept(model.tokenizer.encode("{", { special: false })[0]);
    others[Symbol.dispose]();
    await assertRejects(() => running.settled!, LatentmeshError, "stopping");
    await assertRejects(() => others.constrain(writeGrammar(json({})), { count: 1, client: "" }), LatentmeshError, "stopping");
  });
});
