/**
 * The `openai` package, unmodified, against a served process.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import OpenAI from "openai";
import { type ServedProcess, startServer } from "../support/process.ts";

const messages = [{ role: "user" as const, content: "What is a kettle?" }];
const TEXT = "Kettle means a small kettle (shaped in a leaflet) for driving reasons.";

describe("openai client", () => {
  let server: ServedProcess;
  let client: OpenAI;
  beforeAll(async () => {
    server = await startServer();
    client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
  });
  afterAll(async () => assertEquals((await server.stop()).code, 0));

  it("lists models", async () => {
    assertEquals((await client.models.list()).data.map(({ id }) => id), ["tiny-mla"]);
  });

  it("chats", async () => {
    const answer = await client.chat.completions.create({ model: "tiny-mla", messages, temperature: 0, logprobs: true, top_logprobs: 3 });
    assertEquals([answer.choices[0].message.content, answer.choices[0].finish_reason], [TEXT, "stop"]);
    assertEquals(answer.choices[0].logprobs?.content?.[0].top_logprobs.length, 3);
  });

  it("chats, streaming", async () => {
    const stream = await client.chat.completions.create({
      model: "tiny-mla",
      messages,
      temperature: 0,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let usage = 0;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta.content ?? "";
      usage += chunk.usage?.completion_tokens ?? 0;
    }
    assertEquals(text, TEXT);
    assertEquals(usage, 23);
  });

  it("completes, streaming and not", async () => {
    const options = { model: "tiny-mla", prompt: "And it came to pass", max_tokens: 8, temperature: 0 };
    const whole = await client.completions.create(options);
    let text = "";
    for await (const chunk of await client.completions.create({ ...options, stream: true })) text += chunk.choices[0].text;
    assertEquals(text, whole.choices[0].text);
  });

  it("gets its own error classes", async () => {
    const error = await assertRejects(() => client.chat.completions.create({ model: "other", messages }), OpenAI.NotFoundError);
    assertEquals([error.code, error.param], ["model_not_found", "model"]);
    const bad = await assertRejects(() => client.chat.completions.create({ model: "tiny-mla", messages, temperature: 9 }), OpenAI.BadRequestError);
    assertEquals(bad.param, "temperature");
  });

  it("frees the engine when it aborts a stream", async () => {
    const stream = await client.completions.create({ model: "tiny-mla", prompt: "x", max_tokens: 2000, stream: true, ...{ ignore_eos: true } });
    for await (const _ of stream) break;
    const started = performance.now();
    await client.completions.create({ model: "tiny-mla", prompt: "x", max_tokens: 1 });
    // 2000 tokens take half a minute; the bound only tells queueing from freeing.
    assert(performance.now() - started < 15_000, "the next request did not wait for the abandoned one");
  });
});
