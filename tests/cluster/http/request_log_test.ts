import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { type OpenApp, openApp } from "../../../bench/support/server.ts";
import { levelOf, type RequestRecord } from "../../../cluster/http/request_log.ts";
import { HttpServer } from "../../../cluster/http/server/http_server.ts";
import { cancellation } from "../../../core/errors.ts";
import { until } from "../../../bench/support/until.ts";
import { RawClient } from "../../support/raw_client.ts";
import { scriptedModel } from "../../support/scripted_model.ts";

describe("the record of requests", () => {
  const records: RequestRecord[] = [];
  /** What answers wait for behind their first token. */
  let goOn = Promise.resolve();
  let test: OpenApp;
  beforeAll(async () => {
    const model = await scriptedModel(() => "");
    const [token] = model.tokenizer.encode("x", { special: false });
    const { engine } = model;
    test = await openApp({
      ...model,
      engine: {
        maxContext: engine.maxContext,
        ready: true,
        async generate({ signal }, emit) {
          emit({ kind: "token", token, logprob: null });
          const gone = Promise.withResolvers<void>();
          signal.addEventListener("abort", () => gone.resolve(), { once: true });
          await Promise.race([goOn, gone.promise]);
          if (signal.aborted) throw cancellation(signal);
          emit({ kind: "token", token: model.eosTokens[0], logprob: null });
          emit({ kind: "finish", reason: "stop" });
        },
      },
    }, { onAnswered: (record) => void records.push(record) });
  });
  afterAll(() => test.close());

  const ask = (stream: boolean) => JSON.stringify({ prompt: "x", stream, max_tokens: 5 });
  /** The records so far. */
  const taken = () => records.splice(0).map(({ path, status }) => `${path} ${status}`);

  it("has a stream when it has ended, of which nothing was held up", async () => {
    const gate = Promise.withResolvers<void>();
    goOn = gate.promise;
    const response = await test.app.request("/v1/completions", { method: "POST", body: ask(true) });
    const reader = response.body!.getReader();
    assert(new TextDecoder().decode((await reader.read()).value).includes('"text"'));
    assertEquals(taken(), []);
    gate.resolve();
    while (!(await reader.read()).done);
    const [{ milliseconds, requestId }] = records;
    assert(milliseconds > 0);
    assertEquals(requestId, response.headers.get("x-request-id"));
    assertEquals(taken(), ["/v1/completions 200"]);
  });

  it("has 499 where a reader gives a stream up", async () => {
    goOn = Promise.withResolvers<void>().promise;
    const response = await test.app.request("/v1/completions", { method: "POST", body: ask(true) });
    await response.body!.cancel();
    assertEquals(taken(), ["/v1/completions 499"]);
    const other = await test.app.request("/v1/completions", { method: "POST", body: ask(true) });
    const reader = other.body!.getReader();
    for (let text = ""; !text.includes('"text"');) {
      const { done, value } = await reader.read();
      assert(!done, "it ends only when it is given up");
      text += new TextDecoder().decode(value);
    }
    const waiting = reader.read();
    await reader.cancel();
    await waiting;
    await new Promise((resolve) => setTimeout(resolve));
    assertEquals(taken(), ["/v1/completions 499"], "and once");
  });

  it("has 499 where a client goes away, whether it streams or not", async () => {
    goOn = Promise.withResolvers<void>().promise;
    const server = HttpServer.listen({ hostname: "127.0.0.1", port: 0, limits: { total: 9, perAddress: 9 } }, (request) => test.app.fetch(request));
    for (const stream of [true, false]) {
      const body = ask(stream);
      using client = await RawClient.connect(server.address.port);
      await client.send(`POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
      if (stream) await client.until("data: ");
      client.close();
      await until(() => records.length > 0);
      assertEquals(taken(), ["/v1/completions 499"]);
    }
    await server.shutdown();
  });

  it("is worth a line unless somebody only looked, also at a server that is not ready", () => {
    const levels = [["GET", 200], ["GET", 503], ["HEAD", 503], ["GET", 404], ["POST", 200], ["POST", 503]] as const;
    assertEquals(levels.map(([method, status]) => levelOf({ method, status })), ["debug", "debug", "debug", "info", "info", "info"]);
  });
});
