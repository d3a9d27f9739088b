/**
 * The HTTP server over real sockets: clients that are slow, silent, many, wrong, or gone.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { HttpServer, type HttpServerOptions } from "../../../cluster/http/server/http_server.ts";
import type { HttpHandler } from "../../../cluster/http/server/http_connection.ts";
import { connectionLimits } from "../../../cluster/http/server/connection_limits.ts";
import { until } from "../../../bench/support/until.ts";
import { ROOT } from "../../../bench/support/root.ts";
import { RawClient } from "../../support/raw_client.ts";

type Options = Partial<HttpServerOptions>;

async function withServer(handler: HttpHandler, test: (port: number, server: HttpServer) => Promise<void>, options: Options = {}): Promise<void> {
  const server = HttpServer.listen({ hostname: "127.0.0.1", port: 0, limits: { total: 100, perAddress: 100 }, ...options }, handler);
  try {
    await test(server.address.port, server);
  } finally {
    server.cut();
    await server.shutdown();
  }
}

/** Answers with what it was sent. */
const echo: HttpHandler = async (request) => new Response(`${request.method} ${new URL(request.url).pathname} ${await request.text()}.`);

const get = (path: string, more = "") => `GET ${path} HTTP/1.1\r\nhost: x\r\n${more}\r\n`;

describe("the HTTP server", () => {
  it("answers what Fetch asks: bodies of any kind, one request after another, errors of handlers", () =>
    withServer((request) => {
      if (request.url.endsWith("/broken")) throw new Error("by itself");
      if (request.url.endsWith("/none")) return new Response(null, { status: 204 });
      return echo(request);
    }, async (port) => {
      const url = `http://127.0.0.1:${port}`;
      assertEquals(await (await fetch(`${url}/a`)).text(), "GET /a .");
      assertEquals(await (await fetch(`${url}/b`, { method: "POST", body: "x".repeat(100_000) })).text(), `POST /b ${"x".repeat(100_000)}.`);
      const stream = ReadableStream.from(["one ", "two"]).pipeThrough(new TextEncoderStream());
      assertEquals(await (await fetch(`${url}/c`, { method: "PUT", body: stream })).text(), "PUT /c one two.");
      const broken = await fetch(`${url}/broken`);
      assertEquals([broken.status, (await broken.json()).error.code], [500, "internal"]);
      assertEquals((await fetch(`${url}/none`)).status, 204);
      assertEquals((await fetch(`${url}/d`, { method: "HEAD" })).status, 200);
    }));

  it("keeps connections, takes requests that come together, and answers HTTP/1.0", () =>
    withServer(echo, async (port) => {
      using client = await RawClient.connect(port);
      await client.send(
        `\r\n\r\n${get("/one")}POST /two HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc${get("/three", "connection: close\r\n")}`,
      );
      const text = await client.rest();
      assertEquals(text.match(/\w+ \/\w+ \w*\./g), ["GET /one .", "POST /two abc.", "GET /three ."]);
      assertEquals(text.match(/connection: [\w-]+/g), ["connection: keep-alive", "connection: keep-alive", "connection: close"]);
      using old = await RawClient.connect(port);
      await old.send("GET /old HTTP/1.0\r\n\r\n");
      assert((await old.rest()).endsWith("\r\n\r\nGET /old ."));
    }));

  it("invites a body that waits for it, and takes one in chunks of one byte", () =>
    withServer(echo, async (port) => {
      using client = await RawClient.connect(port);
      await client.send("POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n");
      await client.until("100 Continue\r\n\r\n");
      await client.send("1\r\nx\r\n".repeat(30_000));
      await client.send("0\r\n\r\n");
      await client.until(`POST /a ${"x".repeat(30_000)}.`);
    }));

  it("refuses what it cannot read, in the shape of other errors, and ends the connection", () =>
    withServer(echo, async (port) => {
      const cases: [text: string, status: number][] = [
        ["nonsense\r\n\r\n", 400],
        ["PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505],
        ["CONNECT /x HTTP/1.1\r\nhost: x\r\n\r\n", 405],
        ["GET / HTTP/1.1\r\nhost: [\r\n\r\n", 400],
        [get("/", `x: ${"y".repeat(20_000)}\r\n`), 431],
        ["POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n", 500],
      ];
      for (const [text, status] of cases) {
        using client = await RawClient.connect(port);
        await client.send(text);
        assertStringIncludes(await client.until("}}"), `HTTP/1.1 ${status} `);
      }
    }));

  it("answers before a body has come that it does not want, and does not wait for the rest", () =>
    withServer(() => new Response("no", { status: 401 }), async (port) => {
      using client = await RawClient.connect(port);
      await client.send("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nabc");
      const text = await client.rest();
      assertStringIncludes(text, "connection: close");
      assert(text.endsWith("\r\n\r\nno"), text);
    }, { timeouts: { linger: 50 } }));

  it("ends connections that say nothing, half a head, or half a body, and those that take no answer", () =>
    withServer(
      async (request) => {
        await request.text();
        return new Response(new Uint8Array(64 << 20));
      },
      async (port) => {
        for (const text of ["", "GET / HT", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc", `${get("/")}`]) {
          using client = await RawClient.connect(port);
          await client.send(text);
          if (text.startsWith("GET / HTTP")) await new Promise((resolve) => setTimeout(resolve, 1500));
          const answer = await client.rest();
          assert(!answer.startsWith("HTTP/1.1 200") || answer.length < 64 << 20, `${answer.length} bytes`);
        }
      },
      { timeouts: { head: 200, body: 200, write: 200, idle: 200, linger: 200 } },
    ));

  it("tells who computes an answer that the client is gone, whether it streams or not", async () => {
    const body = JSON.stringify({ prompt: "x".repeat(50_000) });
    for (const streams of [false, true]) {
      let gone = false;
      let asked = false;
      await withServer(async (request) => {
        await request.text();
        asked = true;
        const left = new Promise<void>((resolve) => request.signal.addEventListener("abort", () => resolve()));
        const done = left.then(() => gone = true);
        if (!streams) await done;
        return new Response(new ReadableStream({ start: (controller) => void done.then(() => controller.close()) }));
      }, async (port) => {
        using client = await RawClient.connect(port);
        await client.send(`POST / HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
        await until(() => asked);
        assert(!gone, "it is still there");
        client.close();
        await until(() => gone);
      });
    }
  });

  it("takes a client for gone that sends more of its next requests than is kept of them, and says that its connection ends", async () => {
    let gone = 0;
    await withServer(async (request) => {
      await new Promise<void>((resolve) => request.signal.addEventListener("abort", () => resolve()));
      gone++;
      return new Response("late");
    }, async (port) => {
      using client = await RawClient.connect(port);
      await client.send(`${get("/")}GET /next HTTP/1.1\r\nx: ${"a".repeat(40_000)}`);
      const answer = await client.rest();
      assert(answer.includes("late") && /connection: close/i.test(answer), answer);
      assertEquals(gone, 1);
    });
  });

  it("does not take a client that asks again for one that is gone", () => {
    const answers: (() => void)[] = [];
    let aborted = 0;
    return withServer(async (request) => {
      request.signal.addEventListener("abort", () => aborted++);
      await new Promise<void>((resolve) => answers.push(resolve));
      return new Response(new URL(request.url).pathname);
    }, async (port) => {
      using client = await RawClient.connect(port);
      await client.send(get("/first"));
      await until(() => answers.length === 1);
      await client.send(get("/second"));
      answers[0]();
      await client.until("/first");
      await until(() => answers.length === 2);
      answers[1]();
      await client.until("/second");
      assertEquals(aborted, 0);
    });
  });

  it("goes on serving beside many that say nothing, from one address or several", () => {
    const reasons: string[] = [];
    return withServer(echo, async (port) => {
      const silent: RawClient[] = [];
      for (let i = 0; i < 300; i++) silent.push(await RawClient.connect(port));
      using honest = await RawClient.connect(port);
      await honest.send(get("/still"));
      await honest.until("GET /still .");
      // All but those that there is room for have been ended.
      const ended = await Promise.all(silent.slice(0, 250).map((client) => client.rest()));
      assertEquals(ended.filter((text) => text === "").length, 250);
      for (const client of silent) client.close();
      assert(reasons.length > 0 && reasons[0].includes("127.0.0.1"), reasons[0]);
    }, { limits: { total: 60, perAddress: 50 }, onTurnedAway: (_, reason) => reasons.push(reason) });
  });

  it("turns away who comes while all are being answered", () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    return withServer(async () => {
      await promise;
      return new Response("done");
    }, async (port) => {
      const busy = [await RawClient.connect(port), await RawClient.connect(port)];
      for (const client of busy) await client.send(get("/"));
      await new Promise((resolve) => setTimeout(resolve, 50));
      using late = await RawClient.connect(port);
      assertEquals(await late.rest(), "");
      resolve();
      for (const client of busy) {
        await client.until("done");
        client.close();
      }
    }, { limits: { total: 2, perAddress: 2 } });
  });

  it("shuts down when what runs has been answered, and asks clients to end their connections", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    let asked = false;
    const server = HttpServer.listen({ hostname: "127.0.0.1", port: 0, limits: { total: 9, perAddress: 9 } }, async () => {
      asked = true;
      await promise;
      return new Response("done");
    });
    using idle = await RawClient.connect(server.address.port);
    using client = await RawClient.connect(server.address.port);
    await client.send(get("/"));
    await until(() => asked);
    const stopped = server.shutdown();
    assertEquals(await idle.rest(), "");
    resolve();
    assertStringIncludes(await client.rest(), "connection: close");
    await stopped;
  });

  it("ends a connection whose answer had begun when it was shut down", async () => {
    const more = Promise.withResolvers<void>();
    const body = async function* () {
      yield new TextEncoder().encode("begun");
      await more.promise;
      yield new TextEncoder().encode("done");
    };
    await withServer(() => new Response(ReadableStream.from(body()), { headers: { "content-type": "text/event-stream" } }), async (port, server) => {
      using client = await RawClient.connect(port);
      await client.send(get("/"));
      await client.until("begun");
      const stopped = server.shutdown();
      more.resolve();
      // Neither waits for the client, who may ask again.
      assertStringIncludes(await client.rest(), "done");
      await stopped;
    });
  });

  it("goes on when there are no more descriptors", async () => {
    const server = new Deno.Command("sh", {
      args: ["-c", 'ulimit -n 64; exec "$@"', "sh", Deno.execPath(), "run", "-A", "--quiet", `${ROOT}/tests/support/echo_server.ts`],
      stdout: "piped",
    }).spawn();
    const reader = server.stdout.getReader();
    const port = Number(new TextDecoder().decode((await reader.read()).value));
    const silent = await Promise.all(Array.from({ length: 200 }, () => RawClient.connect(port)));
    for (const client of silent) client.close();
    using honest = await RawClient.connect(port);
    await honest.send(get("/still"));
    await honest.until("GET /still .");
    server.kill("SIGKILL");
    await Promise.all([server.status, reader.cancel()]);
  });

  it("has as many connections as are configured, and never more than open files allow", () => {
    assertEquals(connectionLimits({}, undefined), { total: 4096, perAddress: 2048 });
    assertEquals(connectionLimits({}, 1_000_000), { total: 4096, perAddress: 2048 });
    assertEquals(connectionLimits({}, 1024).total, 1024 - 320);
    assertEquals(connectionLimits({}, 64), { total: 16, perAddress: 8 });
    assertEquals(connectionLimits({ total: 100, perAddress: 200 }, 1024), { total: 100, perAddress: 100 });
  });
});
