import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { TokenEvent, TokenRequest } from "../../../core/engine.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { openTestApp, readEvents } from "../../../bench/support/server.ts";

const MESSAGES = [{ role: "user", content: "What is a kettle?" }];

describe("HTTP API under faults", () => {
  it("has no chat without a template, but completes", async () => {
    const test = await openTestApp((served) => ({ ...served, textSource: { ...served.textSource, config: "{}" } }));
    assertEquals((await test.post("/v1/chat/completions", { messages: MESSAGES })).status, 400);
    assertEquals((await test.post("/v1/completions", { prompt: "x", max_tokens: 1 })).status, 200);
    await test.close();
  });

  it("ends a stream with an error event when the engine fails, and reports it plainly otherwise", async () => {
    const test = await openTestApp((served) => ({
      ...served,
      engine: {
        maxContext: 2048,
        ready: false,
        async generate(_: TokenRequest, emit: (event: TokenEvent) => void) {
          emit({ kind: "token", token: 544, logprob: null });
          await Promise.resolve();
          throw new LatentmeshError("device_lost", "the card fell out");
        },
      },
    }));
    const events = await readEvents(await test.post("/v1/completions", { prompt: "x", stream: true }));
    assertStringIncludes(events.at(-2)!, "the card fell out");
    const response = await test.post("/v1/completions", { prompt: "x" });
    assertEquals([response.status, (await response.json()).error.code], [503, "device_lost"]);
    assertEquals((await test.app.request("/readyz")).status, 503);
    await test.close();
  });

  it("gives the scheduler the priority of a request, and refuses what is none", async () => {
    const priorities: (number | undefined)[] = [];
    const test = await openTestApp((served) => ({
      ...served,
      engine: {
        maxContext: 2048,
        ready: true,
        generate(request: TokenRequest, emit: (event: TokenEvent) => void) {
          priorities.push(request.priority);
          emit({ kind: "finish", reason: "length" });
          return Promise.resolve();
        },
      },
    }));
    const bodies: [string, object][] = [
      ["/v1/completions", { prompt: "x", n: 2, priority: -7 }],
      ["/v1/chat/completions", { messages: MESSAGES, priority: 3 }],
      ["/v1/responses", { input: "x", priority: 4 }],
      ["/v1/completions", { prompt: "x" }],
    ];
    for (const [path, body] of bodies) assertEquals((await test.post(path, body)).status, 200, path);
    assertEquals(priorities, [-7, -7, 3, 4, undefined]);
    for (const priority of [1.5, "high", 2 ** 40]) {
      const response = await test.post("/v1/completions", { prompt: "x", priority });
      assertEquals([response.status, (await response.json()).error.param], [400, "priority"]);
    }
    await test.close();
  });

  it("stops generating when the client goes away or the server shuts down", async () => {
    let running = 0;
    const test = await openTestApp((served) => ({
      ...served,
      engine: {
        maxContext: 2048,
        ready: true,
        async generate({ signal }: TokenRequest, emit: (event: TokenEvent) => void) {
          running++;
          try {
            while (!signal.aborted) {
              emit({ kind: "token", token: 544, logprob: null });
              await new Promise((resolve) => setTimeout(resolve, 1));
            }
          } finally {
            running--;
          }
        },
      },
    }));
    const client = new AbortController();
    const response = await test.app.request("/v1/completions", {
      method: "POST",
      body: JSON.stringify({ prompt: "x", stream: true, n: 2 }),
      signal: client.signal,
    });
    const reader = response.body!.getReader();
    await reader.read();
    assertEquals(running, 2);
    client.abort();
    await reader.cancel();
    while (running > 0) await new Promise((resolve) => setTimeout(resolve, 1));
    test.drain.abort();
    assertEquals((await test.app.request("/readyz")).status, 503);
    test.shutdown.abort();
    const after = await test.post("/v1/completions", { prompt: "x", stream: true });
    await after.text();
    assertEquals(running, 0);
    await test.close();
  });

  it("asks for an API key where keys are set, except about health", async () => {
    const keys = ["a-key-for-tests-only", "another-key-for-tests"];
    const test = await openTestApp();
    const app = test.again({ apiKeys: keys });
    const ask = (headers: Record<string, string> = {}, path = "/v1/models") => app.request(path, { headers });
    for (
      const headers of [{}, ...["Basic eA==", keys[0], "Bearer", "Bearer a b", "Bearer wrong"].map((authorization) => ({ authorization }))] as Record<
        string,
        string
      >[]
    ) {
      const response = await ask(headers);
      assertEquals(response.status, 401);
      assert(response.headers.get("www-authenticate")?.startsWith("Bearer"), "it says how to");
      assertEquals((await response.json()).error.code, "invalid_api_key");
    }
    for (const key of keys) {
      for (const bearer of ["Bearer", "bearer", "BEARER "]) assertEquals((await ask({ authorization: `${bearer} ${key}` })).status, 200);
    }
    // As Anthropic's clients send it, in whose shape they are refused.
    assertEquals((await ask({ "x-api-key": keys[1] })).status, 200);
    assertEquals((await ask({ "x-api-key": keys[1], authorization: "Bearer another" })).status, 200);
    assertEquals((await ask({ "x-api-key": "wrong" })).status, 401);
    const refused = await app.request("/v1/messages", { method: "POST", headers: { "x-api-key": "wrong" } });
    const { type, error, request_id } = await refused.json();
    assertEquals([refused.status, type, error, request_id], [
      401,
      "error",
      { type: "authentication_error", message: "The API key is wrong" },
      refused.headers.get("request-id"),
    ]);
    assertEquals((await ask({}, "/healthz")).status, 200);
    assertEquals((await ask({}, "/tokenize")).status, 401);
    await test.close();
  });
});
