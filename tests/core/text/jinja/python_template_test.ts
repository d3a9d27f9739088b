/**
 * Gaps of the template library: what templates come to is what Python's Jinja makes of them, set up as transformers does.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import { PythonTemplate } from "../../../../core/text/jinja/python_template.ts";
import { parseWithNumbers } from "../../../../core/text/json_numbers.ts";
import gaps from "../../../golden/chat-templates/gaps.json" with { type: "json" };

describe("a Python template", () => {
  const variables = { ...parseWithNumbers(gaps.variables) as object, messages: [{ role: "user", content: "banana" }] };
  for (const { template, rendered } of gaps.cases) {
    it(`renders ${template.slice(0, 80)}`, () => assertEquals(new PythonTemplate(template).render(variables), rendered));
  }

  it("refuses what Python refuses", () => {
    for (
      const template of [
        "{{ 'a' + 1 }}",
        "{{ 1 + 'a' }}",
        "{{ 'a' + none }}",
        "{{ 'a' + {} }}",
        "{{ 'a' < 1 }}",
        "{{ 1 in 2 }}",
        "{{ raise_exception('no') }}",
        "{{ missing|tojson }}",
      ]
    ) {
      assertThrows(() => new PythonTemplate(template).render({}), Error);
    }
  });

  it("takes sums of many parts once each, not anew at every level", () => {
    const sum = new Array(2000).fill("'ab'").join(" + ");
    assertEquals(new PythonTemplate(`{{ ${sum} }}`).render({}).length, 4000);
    const filters = new Array(60).fill("list").join("|");
    assertEquals(new PythonTemplate(`{{ x|${filters}|join }}`).render({ x: ["a", "b"] }), "ab");
  });
});
