/**
 * What is no use as a request: refused by name, in words that say what would be.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { type OpenApp, openApp } from "../../../bench/support/server.ts";
import { scriptedModel } from "../../support/scripted_model.ts";

const KETTLE = { messages: [{ role: "user", content: "What is a kettle?" }], temperature: 0, max_tokens: 6 };

const TOOLS = [{ type: "function", function: { name: "boil", parameters: { type: "object", properties: {}, additionalProperties: false } } }];

function tool(text: object) {
  return [{ type: "function", function: { name: "f", parameters: { type: "object", properties: { text: { type: "string", ...text } } } } }];
}

function jsonSchema(schema: object) {
  return { type: "json_schema", json_schema: { name: "answer", strict: true, schema } };
}

describe("requests that cannot be honoured", () => {
  let test: OpenApp;
  beforeAll(async () => void (test = await openApp(await scriptedModel(() => "A kettle.", { maxContext: 2048 }), { maxBodyBytes: 150_000 })));
  afterAll(() => test.close());

  const post = async (path: string, body: unknown) =>
    await test.app.request(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: typeof body === "string" || body instanceof Uint8Array ? body as BodyInit : JSON.stringify(body),
    });

  const chat = "/v1/chat/completions";
  const completions = "/v1/completions";
  const refused: [name: string, path: string, body: unknown, status: number, param: string | null][] = [
    ["an unknown parameter", chat, { ...KETTLE, frobnicate: 1 }, 400, "frobnicate"],
    ["a chat template of the client's own", chat, { ...KETTLE, chat_template: "{{ messages }}" }, 400, "chat_template"],
    ["an unknown parameter inside another", chat, { ...KETTLE, stream_options: { chunks: 1 } }, 400, "stream_options.chunks"],
    ["tools that are no functions", chat, { ...KETTLE, tools: [{ type: "web_search" }] }, 400, "tools.0.type"],
    ["a tool that is not offered", chat, { ...KETTLE, tools: TOOLS, tool_choice: { type: "function", function: { name: "x" } } }, 400, "tool_choice"],
    ["calls without tools", chat, { ...KETTLE, tool_choice: "required" }, 400, "tool_choice"],
    [
      "a form that cannot be, beside calls",
      chat,
      { ...KETTLE, tools: TOOLS, response_format: jsonSchema({ type: "colour" }) },
      400,
      "response_format",
    ],
    [
      "calls that cannot be, beside a form",
      chat,
      { ...KETTLE, tools: tool({ pattern: "(?<=a)" }), response_format: { type: "json_object" } },
      400,
      "tools",
    ],
    [
      "a variable of templates that is the server's",
      chat,
      { ...KETTLE, chat_template_kwargs: { messages: [] } },
      400,
      "chat_template_kwargs.messages",
    ],
    ["an effort that there is none of", chat, { ...KETTLE, reasoning_effort: "much" }, 400, "reasoning_effort"],
    ["embeddings", "/v1/embeddings", { input: "x" }, 400, null],
    ["a response format that does not exist", chat, { ...KETTLE, response_format: { type: "xml" } }, 400, "response_format.type"],
    ["a schema that cannot be", chat, { ...KETTLE, response_format: jsonSchema({ type: "colour" }) }, 400, "response_format"],
    ["images", chat, { messages: [{ role: "user", content: [{ type: "image_url", image_url: {} }] }] }, 400, "messages.0.content.0.type"],
    ["no messages", chat, { messages: [] }, 400, "messages"],
    ["a wrong temperature", chat, { ...KETTLE, temperature: 3 }, 400, "temperature"],
    ["NaN, which JSON cannot say", chat, `{"messages":[],"temperature":NaN}`, 400, null],
    ["absurd n", chat, { ...KETTLE, n: 1e9 }, 400, "n"],
    ["negative max_tokens", chat, { ...KETTLE, max_tokens: -1 }, 400, "max_tokens"],
    ["more tokens than the context", chat, { ...KETTLE, max_tokens: 5000 }, 400, "max_tokens"],
    ["top_logprobs without logprobs", chat, { ...KETTLE, top_logprobs: 2 }, 400, "top_logprobs"],
    ["bias of a token that does not exist", chat, { ...KETTLE, logit_bias: { 8194: 1 } }, 400, "logit_bias.8194"],
    ["bias that is not for a token", chat, { ...KETTLE, logit_bias: { hello: 1 } }, 400, "logit_bias.hello"],
    ["bias for a token by another name", chat, { ...KETTLE, logit_bias: { "007": 1 } }, 400, "logit_bias.007"],
    [
      "bias for what every object has",
      chat,
      `{"messages":[{"role":"user","content":"x"}],"logit_bias":{"__proto__":1}}`,
      400,
      "logit_bias.__proto__",
    ],
    ["a penalty that divides by nothing", chat, { ...KETTLE, repetition_penalty: 1e-39 }, 400, "repetition_penalty"],
    ["a body that is nested without end", chat, `{"messages":${"[".repeat(40_000)}${"]".repeat(40_000)}}`, 400, "messages.0"],
    [
      "a schema that is",
      chat,
      `{"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":${
        '{"0":'.repeat(12_000)
      }1${"}".repeat(12_000)}}}}`,
      400,
      null,
    ],
    ["a parameter that every object has", chat, `{"messages":[{"role":"user","content":"x"}],"__proto__":{"n":2}}`, 400, "__proto__"],
    ["one inside another", chat, `{"messages":[{"role":"user","content":"x"}],"stream_options":{"__proto__":1}}`, 400, "stream_options.__proto__"],
    ["a long list of stops", chat, { ...KETTLE, stop: new Array(17).fill("x") }, 400, "stop"],
    ["another model", chat, { ...KETTLE, model: "gpt-4" }, 404, "model"],
    ["an empty prompt", completions, { prompt: [] }, 400, "prompt"],
    ["a prompt outside the vocabulary", completions, { prompt: [99999] }, 400, "prompt"],
    ["a prompt beyond the context", completions, { prompt: new Array(2048).fill(5) }, 400, "prompt"],
    ["best_of below n", completions, { prompt: "x", best_of: 2, n: 3 }, 400, "best_of"],
    ["best_of as a stream", completions, { prompt: "x", best_of: 2, stream: true }, 400, "best_of"],
    ["an earlier response", "/v1/responses", { input: "x", previous_response_id: "resp_1" }, 400, "previous_response_id"],
    ["a stop token that does not exist", completions, { prompt: "x", stop_token_ids: [8194] }, 400, "stop_token_ids"],
    ["fewest tokens above the most", completions, { prompt: "x", min_tokens: 30, max_tokens: 29 }, 400, "min_tokens"],
    ["fewest tokens above the default", completions, { prompt: "x", min_tokens: 17 }, 400, "min_tokens"],
    ["fewest tokens of what has a form", chat, { ...KETTLE, min_tokens: 1, response_format: { type: "json_object" } }, 400, "min_tokens"],
    ["log-probabilities of a prompt as a stream", chat, { ...KETTLE, prompt_logprobs: 1, stream: true }, 400, "prompt_logprobs"],
    [
      "more log-probabilities of prompts than an answer holds",
      completions,
      { prompt: new Array(400).fill(5), n: 128, prompt_logprobs: 20 },
      400,
      "prompt_logprobs",
    ],
    ["as many that are echoed", completions, { prompt: new Array(400).fill(5), n: 128, echo: true, logprobs: 20 }, 400, "echo"],
    ["as many that are streamed", completions, { prompt: new Array(400).fill(5), n: 128, echo: true, logprobs: 20, stream: true }, 400, "echo"],
    ["a seed that is not whole", chat, { ...KETTLE, seed: 1.5 }, 400, "seed"],
    ["a seed of more than 64 bits", chat, { ...KETTLE, seed: 2 ** 65 }, 400, "seed"],
    ["a call in the form that is gone", chat, { messages: [{ role: "assistant", function_call: { name: "x" } }] }, 400, "messages.0.function_call"],
    ["a suffix", completions, { prompt: "x", suffix: "y" }, 400, "suffix"],
    ["tokens outside the vocabulary", "/detokenize", { tokens: [99999] }, 400, "tokens"],
    ["a body that is not JSON", chat, "{", 400, null],
    ["a body that is too large", chat, { ...KETTLE, user: "x".repeat(200_000) }, 413, null],
    ["an unknown path", "/v1/nothing", {}, 404, null],
  ];
  for (const [name, path, body, status, param] of refused) {
    it(`refuses ${name} in OpenAI's shape`, async () => {
      const response = await post(path, body);
      const { error } = await response.json();
      assertEquals([response.status, error.param], [status, param], error.message);
      assertEquals(Object.keys(error).sort(), ["code", "message", "param", "type"]);
    });
  }

  it("refuses a body that is not UTF-8, instead of answering another text", async () => {
    const bytes = new TextEncoder().encode('{"prompt":"??","max_tokens":1}');
    bytes.set([0xc3, 0x28], bytes.indexOf(63));
    for (const path of [completions, "/tokenize"]) {
      const response = await post(path, bytes);
      const { error } = await response.json();
      assertEquals([response.status, error.message], [400, "The request body is not UTF-8"]);
    }
  });

  it("says of what may have several forms what each of them asks for", async () => {
    const cases: [path: string, body: object, said: string][] = [
      [
        "/tokenize",
        {},
        "The body cannot be used: prompt: expected a text, and it is missing; or messages: expected a list of 1 to 4096 elements, and it is missing",
      ],
      [
        "/v1/completions",
        { prompt: "a", stop: 5 },
        'Parameter "stop" cannot be used: expected a text of 1 to 1024 characters or a list of at most 16 elements, got 5',
      ],
      ["/detokenize", { tokens: [[]] }, "it must be a list of at most 1048576 token ids, got [[]]"],
      ["/v1/responses", { input: "x", tools: [{ type: "function" }] }, '"tools.0.name" cannot be used: expected a text, and it is missing'],
    ];
    for (const [path, body, said] of cases) {
      const { error } = await (await post(path, body)).json();
      assert(error.message.includes(said), error.message);
    }
  });

  it("says of a prediction all that it may be", async () => {
    for (const content of [undefined, [], 5, [{ type: "image_url" }], new Array(4097).fill({ type: "text", text: "" })]) {
      const { error } = await (await post(chat, { ...KETTLE, prediction: { type: "content", content } })).json();
      const said = 'it must be a text, a list of 1 to 4096 parts of type "text", or a list of 1 to 1048576 token ids, ';
      assert(error.message.includes(said), error.message);
      assertEquals([error.param, error.code], ["prediction.content", "invalid_value"]);
    }
  });

  it("says of a prompt all that it may be", async () => {
    for (const prompt of [undefined, [], 5, [-1], new Array(257).fill("x"), new Array(257).fill([1])]) {
      const { error } = await (await post(completions, { prompt })).json();
      const said = "it must be a text, a list of 1 to 1048576 token ids, or a list of 1 to 256 of either, ";
      assert(error.message.includes(said), error.message);
      assertEquals([error.param, error.code], ["prompt", "invalid_value"]);
    }
  });

  it("says where parameters of functions are no objects, in every API", async () => {
    const parameters = { type: "string" };
    const called = (parameters: object) => [{ type: "function", function: { name: "a", parameters } }];
    const cases: [path: string, body: object, param: string][] = [
      [chat, { ...KETTLE, tools: called(parameters) }, "tools.0.function.parameters.type"],
      [chat, { ...KETTLE, tools: called({ type: ["string", "null"] }) }, "tools.0.function.parameters.type"],
      ["/v1/responses", { input: "x", tools: [{ type: "function", name: "a", parameters }] }, "tools.0.parameters.type"],
      [
        "/v1/responses",
        { input: "x", tools: [{ type: "namespace", name: "n", tools: [{ type: "function", name: "a", parameters }] }] },
        "tools.0.tools.0.parameters.type",
      ],
      ["/v1/messages", { ...KETTLE, tools: [{ name: "a", input_schema: parameters }] }, "tools.0.input_schema.type"],
    ];
    for (const [path, body, param] of cases) {
      const response = await post(path, body);
      const { error: { message } } = await response.json();
      assertEquals(response.status, 400);
      assert(message.startsWith(`Parameter "${param}" cannot be used: it must be "object", got `), message);
    }
    for (const parameters of [{}, { type: ["object", "null"], properties: {} }]) {
      const response = await post(chat, { ...KETTLE, tools: called(parameters) });
      assertEquals(response.status, 200, await response.text());
    }
  });

  it("says what to do without what it refuses", async () => {
    const image = [{ role: "user", content: [{ type: "image_url", image_url: {} }] }];
    const media = "; only text is read here, no images, sound, video or files";
    const cases: [path: string, body: object, ending: string][] = [
      ["/v1/responses", { input: "x", previous_response_id: "resp_1" }, 'is not supported; send the conversation as "input"'],
      ["/v1/responses", { messages: KETTLE.messages }, "it is missing"],
      ["/v1/responses", { input: "x", max_tokens: 5 }, 'is not supported; use "max_output_tokens"'],
      ["/v1/responses", { input: "x", response_format: { type: "text" } }, 'is not supported; use "text.format"'],
      [chat, { ...KETTLE, functions: [] }, 'is not supported; use "tools"'],
      [chat, { ...KETTLE, function_call: "auto" }, 'is not supported; use "tool_choice"'],
      [chat, { ...KETTLE, temprature: 1 }, 'is not supported; did you mean "temperature"?'],
      [completions, { prompt: "x", functions: [] }, "is not supported"],
      [completions, { prompt: "x", suffix: "y" }, "is not supported"],
      [chat, { messages: image }, `expected "text", got "image_url"${media}`],
      ["/v1/responses", { input: [{ role: "user", content: [{ type: "input_image", image_url: "x" }] }] }, media],
      ["/v1/messages", { max_tokens: 1, messages: [{ role: "user", content: [{ type: "image", source: {} }] }] }, media],
      ["/v1/messages", { max_tokens: 1, messages: [{ role: "user", content: "x" }], stop: ["y"] }, 'is not supported; use "stop_sequences"'],
    ];
    for (const [path, body, ending] of cases) {
      const { error: { message } } = await (await post(path, body)).json();
      assert(message.endsWith(ending), message);
    }
  });

  it("repeats no more of a name than tells which it is, and looks for no other that is like it", async () => {
    const long = "m".repeat(50_000);
    const cases: [path: string, body: object][] = [
      [chat, { ...KETTLE, model: long }],
      ["/v1/responses", { input: "x", model: long }],
      ["/tokenize", { prompt: "x", model: long }],
      [chat, { ...KETTLE, [long]: 1 }],
      [chat, { ...KETTLE, logit_bias: { [long]: 1 } }],
      [chat, { ...KETTLE, chat_template_kwargs: { [long]: 1 } }],
      ["/v1/messages", { ...KETTLE, tools: [{ name: "a", input_schema: {} }], tool_choice: { type: "tool", name: long } }],
      ["/v1/messages", { ...KETTLE, tools: [{ type: "web", name: long }], tool_choice: { type: "tool", name: long } }],
    ];
    for (const [path, body] of cases) {
      const response = await post(path, body);
      const text = await response.text();
      assert([400, 404].includes(response.status) && text.length < 1000, `${path}: ${response.status}, ${text.slice(0, 300)}, ${text.length} bytes`);
    }
    const listed = await (await test.app.request(`/v1/models/${long}`)).text();
    assert(listed.length < 1000, `${listed.length} bytes`);
  });

  it("refuses two tools of one name, in every API and whatever the names are made of", async () => {
    const parameters = { type: "object", properties: {} };
    const own = (name: string) => ({ type: "function", name, parameters });
    const cases: [path: string, body: object, name: string][] = [
      [chat, { ...KETTLE, tools: [...TOOLS, ...TOOLS] }, "boil"],
      [chat, { ...KETTLE, tools: [...TOOLS, ...TOOLS], tool_choice: "none" }, "boil"],
      ["/tokenize", { messages: KETTLE.messages, tools: [...TOOLS, ...TOOLS] }, "boil"],
      ["/v1/responses", { input: "x", tools: [own("a"), own("b"), own("a")] }, "a"],
      ["/v1/responses", { input: "x", tools: [own("n__a"), { type: "namespace", name: "n", tools: [own("a")] }] }, "n__a"],
      ["/v1/messages", { ...KETTLE, tools: [{ name: "a", input_schema: parameters }, { name: "a", input_schema: parameters }] }, "a"],
      ["/v1/messages/count_tokens", { messages: KETTLE.messages, tools: new Array(2).fill({ name: "a", input_schema: parameters }) }, "a"],
    ];
    for (const [path, body, name] of cases) {
      const response = await post(path, body);
      const { error } = await response.json();
      assertEquals([response.status, error.message.split(":")[0]], [400, `Two tools are called "${name}"`], path);
    }
  });

  it("says that a body is empty", async () => {
    const response = await post(chat, "");
    const { error } = await response.json();
    assertEquals([response.status, error.code, error.message], [400, "invalid_json", "The request body is empty; send a JSON object"]);
  });
});
