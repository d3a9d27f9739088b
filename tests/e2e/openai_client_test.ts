/**
 * The `openai` package, unmodified, against a served process.
 */
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import OpenAI from "npm:openai@6.49.0";
import type { TokenEngine } from "../../core/engine.ts";
import { type ServedProcess, startServer } from "../../bench/support/process.ts";
import { openTestApp } from "../../bench/support/server.ts";

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

  it("frees the engine when it leaves a stream", async () => {
    // An engine that would generate for ever: the test ends only if leaving the stream ends the generation.
    const ended = Promise.withResolvers<void>();
    const test = await openTestApp((served) => ({ ...served, engine: endlessEngine(ended.resolve) }));
    const socket = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, test.app.fetch);
    const own = new OpenAI({ baseURL: `http://127.0.0.1:${socket.addr.port}/v1`, apiKey: "none", maxRetries: 0 });
    const stream = await own.completions.create({ model: "tiny-mla", prompt: "x", max_tokens: 2000, stream: true });
    for await (const _ of stream) break;
    await ended.promise;
    await socket.shutdown();
    await test.close();
  });
});

/** Generates the same token until it is told to stop. */
function endlessEngine(onEnd: () => void): TokenEngine {
  return {
    maxContext: 2048,
    ready: true,
    async generate({ signal }, emit) {
      try {
        while (!signal.aborted) {
          emit({ kind: "token", token: 544, logprob: null });
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      } finally {
        onEnd();
      }
    },
  };
}
