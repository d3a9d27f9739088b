/**
 * Answers with a form: JSON, calls of tools, responses; and who may ask for them.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { HttpError } from "../../../cluster/api/errors.ts";
import { RateLimiter } from "../../../cluster/http/guards.ts";
import { openTestApp, readEvents, type TestApp } from "../../../bench/support/server.ts";

const messages = [{ role: "user", content: "What is a kettle?" }];
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "What the weather will be",
    parameters: {
      type: "object",
      properties: { city: { enum: ["Paris", "Rome"] }, days: { type: "integer", minimum: 1, maximum: 9 } },
      required: ["city", "days"],
      additionalProperties: false,
    },
  },
};
const KETTLE_SCHEMA = {
  type: "object",
  properties: { kind: { enum: ["pot", "kettle"] }, litres: { type: "integer", minimum: 0, maximum: 9 } },
  required: ["kind", "litres"],
  additionalProperties: false,
};

describe("answers with a form", () => {
  let test: TestApp;
  beforeAll(async () => void (test = await openTestApp()));
  afterAll(() => test.close());

  async function post(path: string, body: object) {
    const response = await test.post(path, body);
    assertEquals(response.status, 200, await response.clone().text());
    return await response.json();
  }
  const chat = (more: object) => post("/v1/chat/completions", { messages, temperature: 0, max_tokens: 300, ...more });

  it("are JSON objects, or what a schema says, choice by choice", async () => {
    const { choices: [{ message, finish_reason }] } = await chat({ response_format: { type: "json_object" } });
    assertEquals([typeof JSON.parse(message.content), finish_reason], ["object", "stop"]);
    const format = { type: "json_schema", json_schema: { name: "kettle", strict: true, schema: KETTLE_SCHEMA } };
    const { choices } = await chat({ response_format: format, n: 3, temperature: 1.5, seed: 4, ignore_eos: true });
    for (const choice of choices) {
      const kettle = JSON.parse(choice.message.content);
      assert(["pot", "kettle"].includes(kettle.kind) && Number.isInteger(kettle.litres), choice.message.content);
      assertEquals(choice.finish_reason, "stop");
    }
  });

  it("are calls where calls are asked for, whole and as a stream", async () => {
    const options = { tools: [WEATHER], tool_choice: { type: "function", function: { name: "get_weather" } } };
    const { choices: [{ message, finish_reason }] } = await chat(options);
    assertEquals([message.content, finish_reason, message.tool_calls.length], [null, "tool_calls", 1]);
    const [call] = message.tool_calls;
    assertEquals(call.function.name, "get_weather");
    const { city, days } = JSON.parse(call.function.arguments);
    assert(["Paris", "Rome"].includes(city) && days >= 1 && days <= 9, call.function.arguments);

    const events = await readEvents(await test.post("/v1/chat/completions", { messages, temperature: 0, max_tokens: 300, ...options, stream: true }));
    const deltas = events.slice(0, -1).map((event) => JSON.parse(event).choices[0]);
    const calls = deltas.flatMap(({ delta }) => delta.tool_calls ?? []);
    assertEquals(calls[0].function.name, "get_weather");
    assertEquals(calls.map(({ function: { arguments: text } }) => text).join(""), call.function.arguments);
    assertEquals([deltas.at(-1).finish_reason, deltas.map(({ delta }) => delta.content ?? "").join("")], ["tool_calls", ""]);
  });

  it("may be text where calls are only possible, and go on after their results", async () => {
    const text = await chat({ tools: [WEATHER], max_tokens: 8 });
    assert(text.choices[0].message.content.length > 0 && text.choices[0].message.tool_calls === undefined, "text");
    const calls = [{ id: "call_1", type: "function", function: { name: "get_weather", arguments: `{"city": "Rome", "days": 1}` } }];
    const conversation = [...messages, { role: "assistant", content: null, tool_calls: calls }, {
      role: "tool",
      tool_call_id: "call_1",
      content: "rain",
    }];
    const next = await chat({ tools: [WEATHER], messages: conversation, max_tokens: 8 });
    assert(next.usage.prompt_tokens > text.usage.prompt_tokens, "the call and its result are part of the prompt");
  });

  it("come as responses too", async () => {
    const response = await post("/v1/responses", { input: "What is a kettle?", instructions: "Be brief", temperature: 0, max_output_tokens: 6 });
    assertEquals([response.object, response.status, response.incomplete_details.reason], ["response", "incomplete", "max_output_tokens"]);
    const whole = response.output[0].content[0].text;
    assert(whole.length > 0 && response.usage.output_tokens === 6, whole);
    const body = { input: "What is a kettle?", instructions: "Be brief", temperature: 0, max_output_tokens: 6, stream: true };
    const blocks = (await (await test.post("/v1/responses", body)).text()).trim().split("\n\n");
    const events = blocks.map((block) => JSON.parse(block.split("\ndata: ")[1]));
    assertEquals(blocks.map((block) => block.split("\n")[0].replace("event: ", "")), events.map(({ type }) => type));
    assertEquals(events.map(({ sequence_number }) => sequence_number), [...events.keys()]);
    assertEquals(events.filter(({ type }) => type === "response.output_text.delta").map(({ delta }) => delta).join(""), whole);
    assertEquals([events[0].type, events.at(-1).type], ["response.created", "response.incomplete"]);

    const { name, parameters } = WEATHER.function;
    const tools = [{ type: "function", name, parameters, strict: true }];
    const called = await post("/v1/responses", { input: "Weather?", temperature: 0, tools, tool_choice: "required", parallel_tool_calls: false });
    const [item] = called.output;
    assertEquals([called.status, item.type, item.name], ["completed", "function_call", "get_weather"]);
    const input = [{ role: "user", content: "Weather?" }, item, { type: "function_call_output", call_id: item.call_id, output: "rain" }];
    assertEquals((await post("/v1/responses", { input, temperature: 0, tools, max_output_tokens: 4 })).object, "response");
    const format = { type: "json_schema", name: "kettle", schema: KETTLE_SCHEMA, strict: true };
    const formed = await post("/v1/responses", { input: "A kettle", temperature: 0, text: { format } });
    assert("litres" in JSON.parse(formed.output[0].content[0].text), "fits");
  });

  it("are what there is of a call that was cut, and say so", async () => {
    const parameters = { type: "object", properties: { text: { type: "string", minLength: 1000 } }, required: ["text"] };
    const written = { tools: [{ type: "function", function: { name: "write", parameters } }], tool_choice: "required", max_tokens: 64 };
    const { choices: [{ message, finish_reason }] } = await chat(written);
    assertEquals(finish_reason, "length");
    const text = message.tool_calls[0].function.arguments;
    assert(text.startsWith("{") && !text.includes("</"), text);
    const tools = [{ type: "function", name: "write", parameters }];
    const body = { input: "Weather?", temperature: 0, tools, tool_choice: "required", max_output_tokens: 64 };
    const response = await post("/v1/responses", body);
    assertEquals([response.status, response.output[0].type, response.output[0].status], ["incomplete", "function_call", "incomplete"]);
    const events = (await (await test.post("/v1/responses", { ...body, stream: true })).text()).trim().split("\n\n");
    const done = events.map((event) => JSON.parse(event.split("\ndata: ")[1])).find(({ type }) => type === "response.output_item.done");
    assertEquals([done.item.status, done.item.arguments], ["incomplete", response.output[0].arguments]);
  });

  it("are refused by keyword and place where they cannot be held to", async () => {
    const refused = async (more: object) => {
      const response = await test.post("/v1/chat/completions", { messages, ...more });
      const { error } = await response.json();
      return [response.status, error.param, error.message];
    };
    const schema = { type: "object", properties: { tags: { type: "array", items: { type: "string" }, uniqueItems: true } } };
    assertEquals(await refused({ response_format: { type: "json_schema", json_schema: { name: "x", schema } } }), [
      400,
      "response_format",
      `Cannot hold an answer to this: "uniqueItems" at #/properties/tags can only be held to where items are one of a list of values`,
    ]);
    const tools = [{ type: "function", function: { name: "f", parameters: { properties: { a: { $ref: "http://b.example/" } } } } }];
    assertEquals((await refused({ tools })).slice(0, 2), [400, "tools"]);
  });

  it("are refused to other names, other sites' pages, and clients that ask too much", async () => {
    const origins = { hosts: ["localhost", "127.0.0.1"], origins: ["https://pages.example"] };
    const app = test.again({ origins, limits: { concurrent: 1, requestsPerMinute: 2 } });
    const ask = async (headers: Record<string, string>, path = "/v1/models") => {
      const response = await app.request(path, { headers });
      return [response.status, response.headers.get("access-control-allow-origin"), (await response.json()).error?.code ?? null];
    };
    assertEquals(await ask({ host: "evil.example" }, "/healthz"), [403, null, "host_not_allowed"]);
    assertEquals(await ask({ host: "localhost:8080", origin: "https://evil.example" }, "/healthz"), [403, null, "origin_not_allowed"]);
    assertEquals(await ask({ host: "localhost:8080", origin: "http://localhost:8080" }, "/healthz"), [200, null, null]);
    // OpenAI's client in a page: a question beforehand with its headers, and answers that the page can read, refusals too.
    const asked = "authorization,content-type,x-stainless-arch,x-stainless-retry-count";
    const preflight = (origin: string, server = app) =>
      server.request("/v1/chat/completions", {
        method: "OPTIONS",
        headers: { host: "localhost", origin, "access-control-request-method": "POST", "access-control-request-headers": asked },
      });
    const allowed = await preflight("https://pages.example");
    const header = (response: Response, name: string) => response.headers.get(`access-control-allow-${name}`);
    assertEquals([allowed.status, header(allowed, "origin"), header(allowed, "headers")], [204, "https://pages.example", asked]);
    assertEquals((await preflight("https://evil.example")).status, 403);
    const keyed = test.again({ origins: { hosts: ["localhost"], origins: ["*"] }, apiKeys: ["a-key-of-the-tests"] });
    const any = await preflight("https://evil.example", keyed);
    assertEquals([any.status, header(any, "origin"), header(any, "headers")], [204, "*", asked]);
    for (const origin of ["https://evil.example", "null"]) {
      const refused = await keyed.request("/v1/models", { headers: { host: "localhost", origin } });
      assertEquals([refused.status, header(refused, "origin")], [401, "*"]);
    }
    const none = await app.request("/none", { headers: { host: "localhost", origin: "https://pages.example" } });
    assertEquals([none.status, header(none, "origin")], [404, "https://pages.example"]);
    assertEquals(await ask({ host: "127.0.0.1", origin: "https://pages.example" }, "/healthz"), [200, "https://pages.example", null]);
    assertEquals(await ask({ host: "127.0.0.1" }), [200, null, null]);
    assertEquals(await ask({ host: "127.0.0.1" }), [200, null, null]);
    assertEquals(await ask({ host: "127.0.0.1" }), [429, null, "rate_limit_exceeded"]);
    const texts = test.again({ limits: { requestsPerMinute: 2 } });
    const tokenize = async () => (await texts.request("/tokenize", { method: "POST", body: JSON.stringify({ prompt: "Hello" }) })).status;
    assertEquals([await tokenize(), await tokenize(), await tokenize()], [200, 200, 429]);
    const named = await app.request("/healthz", { headers: { host: "localhost" } });
    assert(/^req_[0-9a-f]{32}$/.test(named.headers.get("x-request-id")!), "every response has the name of its request");
  });
});

describe("the rate limiter", () => {
  it("counts requests at a time and in a minute, for each client, on the clock it is given", () => {
    let now = 0;
    const limiter = new RateLimiter({ concurrent: 2, requestsPerMinute: 3 }, { now: () => now });
    const refused = (client: string) => {
      try {
        limiter.begin(client)();
        return null;
      } catch (error) {
        return (error as HttpError).retryAfter;
      }
    };
    const first = limiter.begin("a");
    limiter.begin("a");
    assertEquals(refused("a"), 1);
    assertEquals(refused("b"), null);
    first();
    first();
    assertEquals(refused("a"), null);
    assertEquals(refused("a"), 20);
    now += 10_000;
    assertEquals(refused("a"), 10);
    now += 10_000;
    assertEquals(refused("a"), null);
  });
});
