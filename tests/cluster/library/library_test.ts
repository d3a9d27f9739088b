/**
 * What programs ask of an engine besides text: answers with a form, an HTTP API, and errors in the words that they have used.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { type AnswerOptions, Cluster, Engine, joinCluster, LatentmeshError } from "../../../mod.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";

const model = fixtureDirectory("tiny-mla");
const messages = [{ role: "user", content: "What is the weather in Paris?" }];
const tools = [{
  type: "function" as const,
  function: {
    name: "weather",
    parameters: { type: "object", properties: { city: { enum: ["Paris", "Rome"] } }, required: ["city"], additionalProperties: false },
  },
}];

describe("an engine in a program", () => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.load({ model, device: "wasm" });
  });
  afterAll(() => engine.close());

  async function answer(options: AnswerOptions) {
    const pieces = await Array.fromAsync(engine.generate({ maxTokens: 60, ...options }));
    return { text: pieces.map(({ text }) => text).join(""), last: pieces.at(-1)!, tokens: pieces.flatMap(({ tokens }) => tokens) };
  }

  it("calls tools, in a form that goes into the conversation as it is", async () => {
    const { text, last } = await answer({ messages, tools, toolChoice: "required", parallelToolCalls: false });
    const [call, ...more] = last.toolCalls!;
    assertEquals([last.finishReason, more.length, text], ["stop", 0, ""]);
    assertEquals([call.type, call.function.name], ["function", "weather"]);
    assert(["Paris", "Rome"].includes(JSON.parse(call.function.arguments).city), call.function.arguments);
    const next = [...messages, { role: "assistant", content: null, tool_calls: last.toolCalls }, {
      role: "tool",
      tool_call_id: call.id,
      content: "rain",
    }];
    assert((await answer({ messages: next, tools, maxTokens: 4, toolChoice: "none" })).tokens.length > 0);
  });

  it("writes what a schema describes, and text as text where any will do", async () => {
    const schema = { type: "object", properties: { rain: { type: "boolean" } }, required: ["rain"], additionalProperties: false };
    const { text, last } = await answer({ messages, responseFormat: { type: "json_schema", json_schema: { name: "weather", schema } } });
    assertEquals([typeof JSON.parse(text).rain, last.finishReason, last.toolCalls], ["boolean", "stop", []]);
    const plain = await answer({ messages, maxTokens: 8 });
    assertEquals((await answer({ messages, maxTokens: 8, responseFormat: { type: "text" } })).tokens, plain.tokens);
  });

  it("refuses what it cannot hold an answer to, by the option's name", async () => {
    const cases: [object, string, string][] = [
      [{ prompt: "It", tools }, "tools", "it is of conversations; give messages instead of a prompt"],
      [{ prompt: "It", toolChoice: "required" }, "toolChoice", "it is of conversations; give messages instead of a prompt"],
      [{ prompt: "It", responseFormat: { type: "json_object" } }, "responseFormat", "of conversations"],
      [{ messages, tools: [] }, "tools", "expected a list of 1 to 128 elements, got []"],
      [{ messages, tools: [{ type: "function", function: { name: "a b" } }] }, "tools.0.function.name", "it must be 1 to 128 letters"],
      [{ messages, toolChoice: "required" }, "toolChoice", `"toolChoice" asks for a call, but there are no tools`],
      [{ messages, toolChoice: "sometimes" }, "toolChoice", ""],
      [{ messages, parallelToolCalls: 1 }, "parallelToolCalls", "expected true or false, got 1"],
      [{ messages, responseFormat: { type: "yaml" } }, "responseFormat.type", ""],
      [{ messages, tool: tools }, "tool", "there is no such option of generate"],
      [{ messages, tools, temperature: -1 }, "temperature", "expected a number of at least 0, got -1"],
      [{ messages, tools, stop: "x" }, "stop", "expected a list"],
      [{ messages: "What?", tools }, "messages", "expected a list"],
      [{ messages: [], tools }, "messages", "expected a list that is not empty, got []"],
      [{ messages: ["What?"], tools }, "messages.0", 'got "What?"'],
      [{ messages: [{ role: "user" }], tools }, "messages.0.content", "it is missing"],
      [{ messages: [{ role: "user", content: 5 }], tools }, "messages.0.content", "got 5"],
      [{ messages: [{ role: "robot", content: "x" }], tools }, "messages.0.role", 'got "robot"'],
      [{ messages: [...messages, { role: "assistant", tool_calls: 5 }], tools }, "messages.1.tool_calls", "got 5"],
      [
        { messages: [...messages, { role: "assistant", tool_calls: [{ id: "1", type: "function" }] }], tools },
        "messages.1.tool_calls.0.function",
        "it is missing",
      ],
    ];
    for (const [options, param, problem] of cases) {
      const error = await assertRejects(() => answer(options), LatentmeshError);
      assertEquals([error.code, error.param], ["invalid_request", param], error.message);
      assertStringIncludes(error.message, problem);
    }
    await assertRejects(() => engine.score(5 as unknown as string, { limitTokens: 4 }), LatentmeshError, "Cannot use text: expected a text, got 5");
    await assertRejects(() => engine.score("It", { limitTokens: 0 }), LatentmeshError, "limitTokens: expected a whole number of at least 1, got 0");
  });

  it("looks at all options before anything is computed for them", async () => {
    // A form that takes seconds to compile would be told of first.
    const responseFormat = { type: "json_schema" as const, json_schema: { name: "x", schema: { type: "colour" } } };
    const error = await assertRejects(() => answer({ messages, responseFormat, topP: 2 }), LatentmeshError);
    assertEquals(error.param, "topP");
  });

  it("hands a template what else messages say", async () => {
    const odd = [{ role: "user", content: "What is the weather?", mood: "good" }];
    assert((await answer({ messages: odd, responseFormat: { type: "text" }, maxTokens: 2 })).tokens.length > 0);
  });

  it("gives up a form that is being compiled when its signal says so", async () => {
    const properties = Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`p${i}`, { type: "string", pattern: `^(a|b${i})*c{1,40}$` }]));
    const responseFormat = { type: "json_schema" as const, json_schema: { name: "x", schema: { type: "object", properties } } };
    const abort = new AbortController();
    const asked = assertRejects(() => answer({ messages, responseFormat, signal: abort.signal }), LatentmeshError);
    let waited = false;
    setTimeout(() => {
      waited = true;
      abort.abort(new Error("enough"));
    }, 20);
    const error = await asked;
    assertEquals([error.code, error.message, waited], ["cancelled", "The request was cancelled: enough", true]);
    await assertRejects(() => answer({ messages, responseFormat, signal: AbortSignal.abort() }), LatentmeshError, "cancelled");
    assert((await answer({ messages, responseFormat: { type: "json_object" }, maxTokens: 2 })).tokens.length > 0);
  });

  it("keeps the reason of a signal", async () => {
    const reason = new Error("the user has closed the window");
    for (const early of [true, false]) {
      const abort = new AbortController();
      if (early) abort.abort(reason);
      const error = await assertRejects(async () => {
        for await (const _ of engine.generate({ prompt: "It", maxTokens: 400, ignoreEos: true, signal: abort.signal })) abort.abort(reason);
      }, LatentmeshError);
      assertEquals([error.code, error.cause], ["cancelled", reason]);
      assertStringIncludes(error.message, "The request was cancelled: the user has closed the window");
    }
    const plain = await assertRejects(() => answer({ prompt: "It", signal: AbortSignal.abort() }), LatentmeshError);
    assertEquals([plain.message, (plain.cause as DOMException).name], ["The request was cancelled", "AbortError"]);
  });

  it("serves the HTTP API beside what the program asks itself, until either is closed", async () => {
    await using server = await engine.serve({ port: 0, modelName: "weather", apiKeys: ["a-key-of-the-tests"] });
    const ask = (headers: Record<string, string>) =>
      fetch(`${server.url}/v1/chat/completions`, { method: "POST", headers, body: JSON.stringify({ messages, max_tokens: 4, temperature: 0 }) });
    const refused = await ask({});
    await refused.body!.cancel();
    const asked = await ask({ authorization: "Bearer a-key-of-the-tests" });
    const body = await asked.json();
    assertEquals([refused.status, asked.status, body.model], [401, 200, "weather"]);
    assertEquals(body.choices[0].message.content, (await answer({ messages, maxTokens: 4 })).text);
    const taken = await assertRejects(() => engine.serve({ port: server.port }), LatentmeshError, "the port is in use");
    assertEquals(taken.param, "port");
    const error = await assertRejects(() => engine.serve({ port: 99999 }), LatentmeshError, "options of serve: port: expected a whole number");
    assertEquals(error.param, "port");
    await assertRejects(() => engine.serve({ host: "0.0.0.0", port: 0 }), LatentmeshError, "host: 0.0.0.0 can be reached from outside; set apiKeys");
    await server.close();
    await assertRejects(() => fetch(`${server.url}/healthz`));
    assertEquals((await answer({ prompt: "It", maxTokens: 2 })).tokens.length, 2);
  });
});

describe("an engine that is closed", () => {
  it("serves nobody, also where it was about to, and begins nothing for answers with a form", async () => {
    const engine = await Engine.load({ model, device: "wasm" });
    const serving = assertRejects(() => engine.serve({ port: 0 }), LatentmeshError);
    await engine.close();
    assertEquals((await serving).code, "capacity");
    const options = { messages, responseFormat: { type: "json_object" as const } };
    const error = await assertRejects(() => Array.fromAsync(engine.generate(options)), LatentmeshError);
    assertEquals(error.code, "capacity");
  });
});

describe("options of a program without types", () => {
  it("are checked, and named as they were given", async () => {
    const load = (options: unknown) => Engine.load(options as object).then((engine) => engine.close());
    const start = (...args: unknown[]) =>
      (Cluster.start as (...args: unknown[]) => ReturnType<typeof Cluster.start>)(...args).then((cluster) => cluster.close());
    const join = (options: object) =>
      joinCluster({ coordinator: "ws://127.0.0.1:1", token: "a token for tests only", host: "b", advertise: "127.0.0.2", model, ...options })
        .then((joined) => joined.close());
    const cases: [() => Promise<void>, string | undefined, string][] = [
      [() => load({ maxBatch: 0 }), "maxBatch", "Cannot use maxBatch: expected a whole number from 1 to 1024, got 0"],
      [() => load({ maxTokensTotal: 1 }), "maxTokensTotal", "Cannot use maxTokensTotal: expected a whole number"],
      [() => load({ cacheDtype: "f8" }), "cacheDtype", 'Cannot use cacheDtype: expected "f16", "f32" or "q8", got "f8"'],
      [() => load({ prefillChunk: "many" }), "prefillChunk", "Cannot use prefillChunk:"],
      [() => load({ maxStepMs: 0 }), "maxStepMs", "Cannot use maxStepMs:"],
      [() => load({ device: "tpu" }), "device", "Cannot use device:"],
      [() => load({ device: "cpu", threads: 2 }), "threads", "they are of device wasm"],
      [() => load({ model: 5 }), "model", "Cannot use model: expected a text that is not empty, got 5"],
      [() => load({ dawn: 1 }), "dawn", "Cannot use dawn: expected a text"],
      [() => load({ deviceTimes: "yes" }), "deviceTimes", "expected true or false"],
      [() => load({ onProgress: "loud" }), "onProgress", "it must be a function"],
      [() => load({ maxbatch: 2 }), "maxbatch", "there is no such option of Engine.load; did you mean maxBatch?"],
      [() => load("models/tiny-mla"), undefined, "Cannot use the options of Engine.load: expected an object, got string"],
      [() => start({ decode: { maxBatch: 0 } }), "decode.maxBatch", "Cannot use the configuration: decode.maxBatch:"],
      [() => start({}, { onProgress: 1 }), "onProgress", "it must be a function"],
      [() => start({}, { onprogress: () => {} }), "onprogress", "did you mean onProgress?"],
      [() => join({ gpus: "0,1" }), "gpus", "expected a list that is not empty"],
      [() => join({ advertise: undefined }), "advertise", "expected a text that is not empty, and it is missing"],
      [() => join({ tls: { crt: "a.pem" } }), "tls.crt", "Cannot use tls.crt: there is no such option of joinCluster; did you mean tls.cert?"],
      [() => join({ tls: { gpu: "0" } }), "tls.gpu", "Cannot use tls.gpu: there is no such option of joinCluster"],
      [() => join({ token: "short" }), "token", "expected a text of at least 16 characters"],
    ];
    for (const [call, param, problem] of cases) {
      const error = await assertRejects(call, LatentmeshError);
      assertEquals([error.code, error.param], ["invalid_config", param], error.message);
      assertStringIncludes(error.message, problem);
      assert(!error.message.includes("short"), "a secret is shown to nobody");
    }
  });

  it("are disposed of at the end of a block", async () => {
    let closed: Engine;
    {
      await using engine = await Engine.load({ model, device: "cpu" });
      closed = engine;
      assertEquals((await Array.fromAsync(engine.generate({ prompt: [1, 2], maxTokens: 1 }))).flatMap(({ tokens }) => tokens).length, 1);
    }
    await assertRejects(() => Array.fromAsync(closed.generate({ prompt: [1, 2], maxTokens: 1 })), LatentmeshError);
  });
});
