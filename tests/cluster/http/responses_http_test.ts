/**
 * Responses: what becomes of their items on the way to the template, and of an answer on the way back.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { HttpError } from "../../../cluster/api/errors.ts";
import { parseItem } from "../../../cluster/api/responses_schema.ts";
import type { Speculation } from "../../../core/speculation/speculation.ts";
import { type OpenApp, openApp } from "../../../bench/support/server.ts";
import { scriptedModel } from "../../support/scripted_model.ts";

const parameters = { type: "object", properties: { city: { type: "string" } } };
const WEATHER = { type: "function", name: "get_weather", parameters };
const call = (name: string) => `<tool_call>\n{"name": "${name}", "arguments": {"city": "Oslo"}}\n</tool_call>`;

describe("POST /v1/responses", () => {
  let prompt = "";
  let answer = "";
  let speculate: Speculation | undefined;
  let test: OpenApp;
  beforeAll(async () => {
    test = await openApp(
      await scriptedModel((given, request) => {
        prompt = given;
        speculate = request.speculate;
        return answer;
      }),
    );
  });
  afterAll(() => test.close());

  async function post(body: object) {
    const response = await test.app.request("/v1/responses", { method: "POST", body: JSON.stringify(body) });
    return { response, body: await response.json() };
  }

  it("joins items to turns: reasoning, text and calls of the assistant, what the user and what the system says", async () => {
    answer = "Fine.";
    const said = (type: string, text: string) => [{ type, text }];
    const input = [
      { type: "message", role: "developer", content: said("input_text", "Use tools.") },
      { role: "user", content: "Hi." },
      { type: "message", role: "user", id: "msg_0", content: said("input_text", "Weather?") },
      { type: "reasoning", id: "rs_1", summary: [], content: said("reasoning_text", "Two cities."), encrypted_content: null },
      { type: "message", id: "msg_1", role: "assistant", status: "completed", content: said("output_text", "Let me see. "), phase: "commentary" },
      { type: "function_call", id: "fc_1", call_id: "call_1", name: "get_weather", arguments: `{"city": "Oslo"}`, status: "completed" },
      { type: "function_call", id: "fc_2", call_id: "call_2", name: "get_weather", arguments: `{"city": "Rome"}` },
      { type: "function_call_output", call_id: "call_1", output: "rain" },
      { type: "function_call_output", call_id: "call_2", output: said("input_text", "sun"), id: null },
      { type: "reasoning", id: "rs_2", summary: said("summary_text", "So?"), content: null },
    ];
    const { body } = await post({
      input,
      instructions: "Be brief.",
      tools: [WEATHER],
      include: ["reasoning.encrypted_content"],
      reasoning: { effort: "low", summary: "auto" },
      stream_options: { include_obfuscation: false },
      max_tool_calls: 3,
      service_tier: "priority",
      truncation: null,
    });
    assertEquals([body.status, body.output.map(({ type }: { type: string }) => type)], ["completed", ["message"]]);
    assertEquals(body.reasoning, { effort: "low", summary: null });
    const written = (city: string) => `<tool_call>\n{"name": "get_weather", "arguments": {"city": "${city}"}}\n</tool_call>`;
    const expected = "[system]Be brief.\n\nUse tools.[user]Hi.\n\nWeather?" +
      `[assistant]<think>Two cities.</think>Let me see. ${written("Oslo")}${written("Rome")}[tool]rain[tool]sun[assistant](low)`;
    assert(prompt.endsWith(expected), prompt);
  });

  it("says what an answer is made of, and that it was cut, whole and as events", async () => {
    answer = `<think>Hm.</think>\n\n${call("get_weather")}\n${call("get_weather")}`;
    const ask = { input: "Weather?", tools: [WEATHER] };
    const { body } = await post(ask);
    assertEquals(body.output.map(({ type, status }: Record<string, string>) => [type, status ?? null]), [
      ["reasoning", null],
      ["function_call", "completed"],
      ["function_call", "completed"],
    ]);
    assertEquals(body.output[0].content, [{ type: "reasoning_text", text: "Hm." }]);
    assert(body.usage.output_tokens_details.reasoning_tokens > 0);
    const text = await (await test.app.request("/v1/responses", { method: "POST", body: JSON.stringify({ ...ask, stream: true }) })).text();
    const events = text.trim().split("\n\n").map((block) => JSON.parse(block.split("\ndata: ")[1]));
    const named = (item: Record<string, unknown>) => ({ ...item, id: "", call_id: "" });
    assertEquals(events.at(-1).response.output.map(named), body.output.map(named));
    const types = events.map(({ type }) => type.replace("response.", "")).filter((type, i, all) => type !== all[i - 1]);
    assertEquals(types.slice(2, 8), [
      "output_item.added",
      "content_part.added",
      "reasoning_text.delta",
      "reasoning_text.done",
      "content_part.done",
      "output_item.done",
    ]);
    answer = "<think>Hm…";
    const { body: cut } = await post({ input: "Weather?", max_output_tokens: 9 });
    assertEquals([cut.status, cut.incomplete_details], ["incomplete", { reason: "max_output_tokens" }]);
    // All but the one that it begins with, and not as many as its text would have if it were tokenised again.
    assertEquals([cut.usage.output_tokens, cut.usage.output_tokens_details.reasoning_tokens], [9, 8]);
    const messages = [{ role: "user", content: "Weather?" }];
    const chat = async (more: object) => {
      const body = JSON.stringify({ messages, max_tokens: 9, n: 2, ...more });
      return await test.app.request("/v1/chat/completions", { method: "POST", body });
    };
    const counted = ({ completion_tokens, completion_tokens_details }: Record<string, unknown>) => [completion_tokens, completion_tokens_details];
    assertEquals(counted((await (await chat({})).json()).usage), [18, { reasoning_tokens: 16 }]);
    const chunks = (await (await chat({ stream: true, stream_options: { include_usage: true } })).text()).trim().split("\n\n");
    assertEquals(counted(JSON.parse(chunks.at(-2)!.slice(6)).usage), [18, { reasoning_tokens: 16 }]);
    const message = await test.app.request("/v1/messages", { method: "POST", body: JSON.stringify({ messages, max_tokens: 9 }) });
    const { usage } = await message.json();
    assertEquals([usage.output_tokens, usage.output_tokens_details.thinking_tokens], [9, 8]);
  });

  it("leaves out tools that are no functions, says so, and refuses to be made to call one", async () => {
    answer = "Fine.";
    const tools = [WEATHER, { type: "web_search", external_web_access: true }, { type: "custom", name: "apply_patch", format: { type: "grammar" } }];
    const { response, body } = await post({ input: "Weather?", tools });
    assertEquals(response.headers.get("warning"), `299 latentmesh "tools of these types are not here and were left out: web_search, custom"`);
    assertEquals(body.tools.map(({ name }: { name: string }) => name), ["get_weather"]);
    assert(prompt.includes("get_weather") && !prompt.includes("apply_patch"), prompt);
    const refused = await post({ input: "Weather?", tools, tool_choice: { type: "web_search" } });
    assertEquals([refused.response.status, refused.body.error.param], [400, "tool_choice"]);
    assertEquals((await post({ input: "x", tools: [WEATHER] })).response.headers.get("warning"), null);
    const hostile = await post({ input: "x", tools: [{ type: 'web"\r\n🫖' }] });
    assertEquals(hostile.response.headers.get("warning"), `299 latentmesh "tools of these types are not here and were left out: web?????"`);
  });

  it("knows functions of a namespace by both names", async () => {
    answer = call("mcp__weather__get");
    const tools = [{ type: "namespace", name: "mcp__weather", description: "", tools: [{ ...WEATHER, name: "get" }, { type: "custom", name: "x" }] }];
    const { response, body: { output: [item] } } = await post({ input: "Weather?", tools });
    assertEquals([item.namespace, item.name], ["mcp__weather", "get"]);
    assert(response.headers.get("warning")!.includes("custom"));
    await post({ input: [{ role: "user", content: "x" }, item, { type: "function_call_output", call_id: item.call_id, output: "rain" }], tools });
    assert(prompt.includes(`{"name": "mcp__weather__get", "arguments": {"city": "Oslo"}}`), prompt);
  });

  it("knows items by their names for a while, each client's own", async () => {
    answer = `<think>Hm.</think>\nLet me see.\n${call("get_weather")}`;
    const ask = async (body: object) => {
      const text = await (await test.app.request("/v1/responses", { method: "POST", body: JSON.stringify({ ...body, stream: true }) })).text();
      return JSON.parse(text.trim().split("\n\n").at(-1)!.split("\ndata: ")[1]).response;
    };
    for (const answered of [(await post({ input: "Weather?", tools: [WEATHER] })).body, await ask({ input: "Weather?", tools: [WEATHER] })]) {
      const references = answered.output.map(({ id }: { id: string }) => ({ type: "item_reference", id }));
      const result = { type: "function_call_output", call_id: answered.output.at(-1).call_id, output: "rain" };
      const { response } = await post({ input: [{ role: "user", content: "Weather?" }, ...references, result], tools: [WEATHER] });
      assertEquals(response.status, 200);
      assert(prompt.endsWith(`[assistant]<think>Hm.</think>\nLet me see.\n${call("get_weather")}[tool]rain[assistant]`), prompt);
    }
    const { body: unkept } = await post({ input: "Weather?", store: false });
    for (const id of [unkept.output[0].id, "msg_none"]) {
      const { response, body: { error } } = await post({ input: [{ type: "item_reference", id }] });
      assertEquals([response.status, error.param], [404, "input"]);
    }
  });

  it("takes reasoning from its summary where it has no content", async () => {
    answer = "Fine.";
    for (const content of [undefined, null, []]) {
      const reasoning = { type: "reasoning", id: "rs_1", summary: [{ type: "summary_text", text: "So?" }], content };
      await post({
        input: [{ role: "user", content: "Hi." }, reasoning, { role: "assistant", content: "Yes." }, { role: "user", content: "Well?" }],
      });
      assert(prompt.includes("<think>So?</think>Yes."), prompt);
    }
  });

  it("says which of the items that it refers to cannot be used, and why", () => {
    const kept = JSON.stringify({ type: "function_call", id: "fc_1", call_id: "call_1", name: "get weather", arguments: "{}" });
    const error = assertThrows(() => parseItem("fc_1", kept), HttpError);
    assertEquals([error.status, error.fields.param], [400, "input"]);
    assertEquals(
      error.message,
      'The item "fc_1" that "input" refers to cannot be used: name: it must be 1 to 128 letters, digits, dots, dashes or underscores, got "get weather"',
    );
  });

  it("says whether its items are kept", async () => {
    answer = "It rains.";
    for (const [store, kept] of [[undefined, true], [null, true], [true, true], [false, false]]) {
      const { body } = await post({ input: "Weather?", store });
      assertEquals(body.store, kept);
      const { response } = await post({ input: [{ type: "item_reference", id: body.output[0].id }] });
      assertEquals(response.status, kept ? 200 : 404);
    }
  });

  it("says whether tokens may be guessed, as in every API", async () => {
    answer = "It rains.";
    const fields: [path: string, body: object][] = [
      ["/v1/responses", { input: "Weather?" }],
      ["/v1/messages", { messages: [{ role: "user", content: "Weather?" }], max_tokens: 9 }],
      ["/v1/chat/completions", { messages: [{ role: "user", content: "Weather?" }] }],
      ["/v1/completions", { prompt: "Weather?" }],
    ];
    for (const [path, body] of fields) {
      for (const way of ["off", "ngram", undefined]) {
        const response = await test.app.request(path, { method: "POST", body: JSON.stringify({ ...body, speculate: way }) });
        assertEquals(response.status, 200, await response.text());
        assertEquals(speculate, way);
      }
      const refused = await test.app.request(path, { method: "POST", body: JSON.stringify({ ...body, speculate: "much" }) });
      assertEquals(refused.status, 400);
      await refused.body?.cancel();
    }
  });

  it("is of a form, or calls tools that may be called", async () => {
    const schema = { ...parameters, required: ["city"], additionalProperties: false };
    const asked = { input: "Weather?", tools: [WEATHER], text: { format: { type: "json_schema", name: "place", schema, strict: true } } };
    answer = `{"city": "Oslo"}`;
    const { body: { output: [message] } } = await post(asked);
    assertEquals([message.type, message.content[0].text], ["message", answer]);
    answer = call("get_weather");
    assertEquals((await post(asked)).body.output.map(({ type, name }: Record<string, string>) => [type, name]), [["function_call", "get_weather"]]);
    answer = "It rains.";
    const { response, body: { error } } = await post(asked);
    assertEquals([response.status, error.message.includes("does not fit the grammar")], [500, true], "nothing else fits");
  });

  it("lets only the allowed tools be called", async () => {
    answer = call("get_weather");
    const tools = [WEATHER, { ...WEATHER, name: "other" }];
    const allow = (name: string) => ({ type: "allowed_tools", mode: "required", tools: [{ type: "function", name }] });
    const { body } = await post({ input: "Weather?", tools, tool_choice: allow("get_weather") });
    assertEquals([body.output[0].name, body.tool_choice.type], ["get_weather", "allowed_tools"]);
    assert(!prompt.includes("other"), prompt);
    const { response, body: { error } } = await post({ input: "Weather?", tools, tool_choice: allow("none") });
    assertEquals([response.status, error.param], [400, "tool_choice"]);
  });

  it("names the fields that it has in what it refuses", async () => {
    const format = { type: "json_schema", name: "x", schema: { type: "colour" } };
    const cases: [body: object, param: string][] = [
      [{ input: "x", text: { format } }, "text.format"],
      [{ input: "x ".repeat(40_000) }, "input"],
      [{ input: [{ type: "item_search", id: "x" }] }, "input.0.type"],
      [{ input: "x", include: ["message.output_text.logprobs"] }, "include.0"],
      [{ input: "x", tools: [{ ...WEATHER, parameters: { $ref: "http://b.example/" } }] }, "tools"],
    ];
    for (const [body, param] of cases) {
      const { response, body: { error } } = await post(body);
      assertEquals([response.status, error.param], [400, param], error.message);
    }
  });
});
