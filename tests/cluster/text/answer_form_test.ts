/**
 * Requests with tools, as the published template of a family that writes them in a form of its own takes them.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { prepare } from "../../../cluster/text/prepare.ts";
import { openTextModel, type TextModel } from "../../../cluster/text/text_model.ts";
import { describeFormats } from "../../../core/text/answer_formats.ts";
import { readTextSource } from "../../../core/text/text_source.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";

const tiny = await readTextSource(new DirectoryFiles(fixtureDirectory("tiny-mla")));

async function modelWith(template: string): Promise<TextModel> {
  const text = await Deno.readTextFile(new URL(`../../golden/chat-templates/${template}.jinja`, import.meta.url));
  return openTextModel({ id: "tiny", vocabSize: 8192, context: { maxContext: 4096, maxPositions: 4096 }, source: { ...tiny, template: text } });
}

const BODY = `{
  "messages": [
    { "role": "user", "content": "How warm?" },
    { "role": "assistant", "content": null, "tool_calls": [
      { "id": "call_1", "type": "function", "function": { "name": "boil", "arguments": "{\\"litres\\": 2.0, \\"id\\": 12345678901234567890, \\"note\\": \\"12\\"}" } }
    ] },
    { "role": "tool", "tool_call_id": "call_1", "content": "warm" }
  ],
  "tools": [{ "type": "function", "function": { "name": "boil", "parameters": {
    "type": "object", "properties": { "litres": { "type": "number", "maximum": 5.0 }, "note": { "type": "string" } } } } }]
}`;

describe("a conversation with tools", () => {
  it("reaches GLM's template with arguments as objects, numbers as they came, and no content", async () => {
    const model = await modelWith("glm-4.5");
    const { conversation } = prepare(model, "chat", new TextEncoder().encode(BODY));
    const prompt = model.tokenizer.decode([...conversation.prompt], { skipSpecial: false });
    const call = "<tool_call>boil\n<arg_key>litres</arg_key>\n<arg_value>2.0</arg_value>\n<arg_key>id</arg_key>\n" +
      "<arg_value>12345678901234567890</arg_value>\n<arg_key>note</arg_key>\n<arg_value>12</arg_value>\n</tool_call>";
    for (const part of [call, `"maximum": 5.0`, "<tool_response>\nwarm\n</tool_response>"]) assert(prompt.includes(part), `${part}\n${prompt}`);
    assert(!prompt.includes("None"), prompt);
    assertEquals(conversation.types, { boil: { litres: ["integer", "number"], note: ["string"] } });
    assertEquals(JSON.parse(conversation.grammar!.json).marker, "<tool_call>");
  });

  it("reaches DeepSeek's with arguments as the text that was sent", async () => {
    const model = await modelWith("deepseek-v3.1");
    const { conversation } = prepare(model, "chat", new TextEncoder().encode(BODY));
    const prompt = model.tokenizer.decode([...conversation.prompt], { skipSpecial: false });
    const call = `<｜tool▁call▁begin｜>boil<｜tool▁sep｜>{"litres": 2.0, "id": 12345678901234567890, "note": "12"}<｜tool▁call▁end｜>`;
    assert(prompt.includes(call), prompt);
    assertEquals(conversation.types, undefined);
  });

  it("has a form that can be told in a line", async () => {
    const lines = await Promise.all(["glm-4.5", "deepseek-v3.1"].map(async (name) => {
      const { tokenizer, chatTemplate } = await modelWith(name);
      return describeFormats({ tokenizer, chatTemplate: chatTemplate! });
    }));
    assertEquals(lines, [
      "tool calls as glm (tools described by the template; the template writes earlier calls, from objects); no marks of reasoning",
      "tool calls as deepseek-v3.1 (tools described in words; the template writes earlier calls, from text); no marks of reasoning",
    ]);
  });
});

describe("where the prompt of a conversation ends", () => {
  const user = { role: "user", content: "How warm?" };
  const promptOf = (model: TextModel, body: unknown) => {
    const { conversation } = prepare(model, "chat", new TextEncoder().encode(JSON.stringify(body)));
    return { text: model.tokenizer.decode([...conversation.prompt], { skipSpecial: false }), reasoning: conversation.reasoning };
  };

  it("is where the answer begins, behind the last message, or within it", async () => {
    const model = await modelWith("deepseek-v3.1");
    const answer = promptOf(model, { messages: [user] }).text;
    assert(answer.endsWith("<｜Assistant｜></think>"), answer);
    assertEquals(promptOf(model, { messages: [user], add_generation_prompt: false }).text, answer.slice(0, -"<｜Assistant｜></think>".length));
    for (const content of ["It is ", "It is", "  It is", "Of\n\nIt is \n"]) {
      const { text } = promptOf(model, {
        messages: [user, { role: "assistant", content }],
        continue_final_message: true,
        add_generation_prompt: false,
      });
      assert(text.startsWith(answer) && text.endsWith(content), JSON.stringify(text));
    }
  });

  it("is where a template that trims messages lets it end", () => {
    const template =
      `{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}[end]{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}`;
    const model = openTextModel({ id: "tiny", vocabSize: 8192, context: { maxContext: 4096, maxPositions: 4096 }, source: { ...tiny, template } });
    const at = (content: string) => promptOf(model, { messages: [user, { role: "assistant", content }], continue_final_message: true }).text;
    assertEquals([at(" so it "), at("How warm?")], ["[user]How warm?[end][assistant]so it", "[user]How warm?[end][assistant]How warm?"]);
    assertEquals(promptOf(model, { messages: [user] }).text, "[user]How warm?[end][assistant]");
  });

  it("is within reasoning where the message that goes on has not ended it, and never before reasoning", () => {
    const tokenizer = JSON.parse(tiny.tokenizer);
    const [first] = tokenizer.added_tokens;
    tokenizer.added_tokens.push({ ...first, id: 8192, content: "<think>" }, { ...first, id: 8193, content: "</think>" });
    const template = `{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}`;
    const source = { ...tiny, template, tokenizer: JSON.stringify(tokenizer) };
    const model = openTextModel({ id: "tiny", vocabSize: 8194, context: { maxContext: 4096, maxPositions: 4096 }, source });
    const asked = { ...user, content: "What does <think> mean?" };
    const at = (content: string) => promptOf(model, { messages: [asked, { role: "assistant", content }], continue_final_message: true }).reasoning;
    assertEquals(promptOf(model, { messages: [user] }).reasoning, "possible");
    assertEquals(["<think>It may", "<think>a</think>It", "It is", "<think>"].map(at), ["begun", "no", "no", "begun"]);
  });

  it("is refused where nothing can go on, or a grammar would hold for half of the answer", async () => {
    const model = await modelWith("deepseek-v3.1");
    const said = { role: "assistant", content: "It is" };
    const call = { id: "a", type: "function", function: { name: "boil", arguments: "{}" } };
    const tools = [{ type: "function", function: { name: "boil" } }];
    for (
      const [body, words] of [
        [{ messages: [user] }, "last message of the assistant's"],
        [{ messages: [user, { role: "assistant", content: " " }] }, "with content"],
        [{ messages: [user, { ...said, tool_calls: [call] }] }, "without calls"],
        [{ messages: [user, said], add_generation_prompt: true }, "cannot both be true"],
        [{ messages: [user, said], response_format: { type: "json_object" } }, "response_format"],
        [{ messages: [user, said], tools, tool_choice: "required" }, "tool_choice"],
        [{ messages: [user, { role: "assistant", content: "<think>a</think>b</think>c" }] }, "changes the last message"],
      ] as const
    ) {
      const error = assertThrows(() => promptOf(model, { ...body, continue_final_message: true }), Error);
      assert(error.message.includes(words), error.message);
    }
    promptOf(model, { messages: [user, said], tools, continue_final_message: true });
  });
});
