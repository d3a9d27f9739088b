/**
 * Clients that go away from a server with a model, over real sockets.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { HttpServer } from "../../../cluster/http/server/http_server.ts";
import type { TokenEvent, TokenRequest } from "../../../core/engine.ts";
import { until } from "../../../bench/support/until.ts";
import { RawClient } from "../../support/raw_client.ts";
import { openTestApp } from "../../../bench/support/server.ts";

describe("the generation of a client that has gone", () => {
  it("ends within a step, though the client does not stream and has sent much", async () => {
    let steps = 0;
    let running = 0;
    let stepsAfter = 0;
    let left = false;
    const test = await openTestApp((served) => ({
      ...served,
      engine: {
        maxContext: 2048,
        ready: true,
        async generate({ signal }: TokenRequest, emit: (event: TokenEvent) => void) {
          running++;
          while (!signal.aborted) {
            steps++;
            if (left) stepsAfter++;
            emit({ kind: "token", token: 544, logprob: null });
            // A step takes longer than the news.
            await new Promise((resolve) => setTimeout(resolve, 50));
          }
          running--;
        },
      },
    }));
    const server = HttpServer.listen({ hostname: "127.0.0.1", port: 0, limits: { total: 9, perAddress: 9 } }, (request) => test.app.fetch(request));
    const body = JSON.stringify({ prompt: "It was", max_tokens: 2000, ignore_eos: true, user: "x".repeat(1000), stop: ["y".repeat(1000)] });
    using client = await RawClient.connect(server.address.port);
    await client.send(`POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    await until(() => steps >= 3);
    assertEquals(running, 1);
    left = true;
    client.close();
    await until(() => running === 0);
    assert(stepsAfter <= 2, `${stepsAfter} steps after it had gone`);
    await server.shutdown();
    await test.close();
  });
});
