import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { reasoningFormatOf, toolFormatOf } from "../../../../core/text/answers/choose_format.ts";

const published = (name: string) => Deno.readTextFile(new URL(`../../../golden/chat-templates/${name}.jinja`, import.meta.url));
/** A vocabulary of these tokens. */
const vocabulary = (...texts: string[]) => (text: string) => texts.includes(text) ? texts.indexOf(text) : null;

describe("the form of answers", () => {
  it("is chosen by what a published template shows, whatever else the vocabulary holds", async () => {
    const tokenOf = vocabulary("<think>", "<tool_call>", "<｜tool▁call▁begin｜>");
    const names = ["deepseek-v3", "deepseek-v3.1", "deepseek-r1", "deepseek-r1-0528"];
    const chosen = await Promise.all(names.map(async (name) => toolFormatOf({ tokenOf, template: await published(name) }).name));
    assertEquals(chosen, ["deepseek", "deepseek-v3.1", "deepseek", "deepseek"]);
    assertEquals(toolFormatOf({ tokenOf: vocabulary("<think>"), template: await published("glm-4.5") }).name, "glm");
  });

  it("is told from its relatives by how the template writes a call", () => {
    const of = (template: string | null, ...tokens: string[]) => toolFormatOf({ tokenOf: vocabulary(...tokens), template }).name;
    assertEquals(of("<tool_call>{n}<arg_key>{k}</arg_key><arg_value>{v}</arg_value></tool_call>"), "glm-4.7");
    assertEquals(of("<tool_call>{n}\n<arg_key>{k}</arg_key>\n<arg_value>{v}</arg_value>\n</tool_call>"), "glm");
    assertEquals(of(`{{ '[TOOL_CALLS] [' }}`), "mistral-v3");
    assertEquals(of(`{{ '[TOOL_CALLS][' }}`), "mistral-v7");
    assertEquals(of(`{{ '[TOOL_CALLS]' + name + '[CALL_ID]' + id + '[ARGS]' + args }}`), "mistral-v11");
    assertEquals(of(`{{ '[TOOL_CALLS]' + name + '[ARGS]' + args }}`, "[CALL_ID]"), "mistral-v13");
    assertEquals(of("<|tool_call_start|>\n```python\n", "<|tool_call_start|>"), "minicpm3");
    assertEquals(of(`<tool_call>{"name": "function-name", "arguments": {}}</tool_call>`, "<tool_call>"), "youtu");
    assertEquals(of(`<tool_call>\\n{"name": `, "<tool_call>"), "plain");
    assertEquals(of("{{ messages }}"), "plain");
    assertEquals([of(null, "<｜tool▁call▁begin｜>"), of("", "<|tool_call_begin|>"), of("", "[TOOL_CALLS]", "[ARGS]"), of(null)], [
      "deepseek",
      "kimi",
      "mistral-v13",
      "plain",
    ]);
  });

  it("has the marks of reasoning that the vocabulary has, of several those of the template", () => {
    const of = (template: string | null, ...tokens: string[]) => reasoningFormatOf({ tokenOf: vocabulary(...tokens), template })?.begin ?? null;
    assertEquals(of("[THINK]", "<think>", "[THINK]"), "[THINK]");
    assertEquals([of(null, "<think>"), of("", "<|thought_start|>"), of("<think>")], ["<think>", "<|thought_start|>", null]);
  });
});
