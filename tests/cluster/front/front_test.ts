/**
 * What becomes of requests between clients, a front and cells.
 */
import { it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { readFrontRequest } from "../../../cluster/front/front_request.ts";
import { until } from "../../../bench/support/until.ts";
import { CHAT, chat, describeCells, MESSAGES, openFront, statusOf, TestCell, type TestFront, TestRegistry } from "../../support/cells.ts";
import { RawClient } from "../../support/raw_client.ts";

describeCells("a front", (withCells, test) => {
  const counts = (cells: readonly TestCell[]) => cells.map(({ engine }) => engine.requests.length);

  it("relays every endpoint as the cell answers it", () =>
    withCells(["a"], async ({ front, cells }) => {
      const whole = await (await front.post(CHAT, chat())).json();
      assertEquals(whole.choices[0].message.content, (await (await test().post(CHAT, chat())).json()).choices[0].message.content);
      const streamed = await front.post(CHAT, chat({ stream: true }));
      assertEquals(streamed.headers.get("content-type"), "text/event-stream");
      const text = await streamed.text();
      assert(!/^:/m.test(text), "notes of the cell are the front's alone");
      assert(text.endsWith("data: [DONE]\n\n"));
      for (
        const [path, asked] of [["/v1/completions", { prompt: "x", max_tokens: 1 }], ["/v1/responses", { input: "x", max_output_tokens: 1 }]] as const
      ) {
        const response = await front.post(path, asked);
        assertEquals(response.status, 200, path);
        await response.body!.cancel();
      }
      assertEquals((await (await front.post("/v1/messages", chat())).json()).type, "message");
      assertEquals((await (await front.post("/v1/messages/count_tokens", { messages: MESSAGES })).json()).input_tokens, 10);
      const { tokens } = await (await front.post("/tokenize", { prompt: "hello" })).json();
      assertEquals((await (await front.post("/detokenize", { tokens: tokens.slice(1) })).json()).prompt, "hello");
      assertEquals(await statusOf(front.post("/v1/embeddings", { input: "x" })), 400);
      assert(cells[0].engine.requests.length > 0);
    }));

  it("gives its clients the cell's errors, in its API's words", () =>
    withCells(["a", "b"], async ({ front }) => {
      const errorOf = async (path: string, asked: unknown) => {
        const response = await front.post(path, asked);
        return [response.status, (await response.json()).error.code ?? null];
      };
      assertEquals(await errorOf(CHAT, { messages: MESSAGES, colour: "red" }), [400, "unsupported_parameter"]);
      assertEquals(await errorOf(CHAT, "{"), [400, "invalid_json"]);
      assertEquals(await errorOf(CHAT, "[]"), [400, "invalid_value"]);
      assertEquals(await errorOf(CHAT, { ...chat(), model: 5 }), [400, "invalid_value"]);
      assertEquals(await errorOf(CHAT, { ...chat(), model: "other" }), [404, "model_not_found"]);
      assertEquals(await errorOf("/v1/responses", { input: [{ type: "item_reference", id: "msg_1" }] }), [404, "item_not_found"]);
      assertEquals(await errorOf("/nothing", {}), [404, "not_found"]);
      const anthropic = await (await front.post("/v1/messages", { ...chat(), model: "other" })).json();
      assertEquals([anthropic.type, anthropic.error.type], ["error", "not_found_error"]);
    }));

  it("tries the next cell where one cannot be reached, and the first again when it is heard of", () =>
    withCells(["a", "b"], async ({ front, cells, beat }) => {
      const owner = cells.find(({ id }) =>
        id ===
          front.running.context.cells.choose(readFrontRequest(CHAT, new TextEncoder().encode(JSON.stringify(chat())), ""), { tried: new Set() })!.cell
            .id
      )!;
      const other = cells.find((cell) => cell !== owner)!;
      owner.die();
      for (const stream of [false, true]) {
        const response = await front.post(CHAT, chat({ stream }));
        assertEquals(response.status, 200);
        await response.text();
      }
      assertEquals(counts([owner, other]), [0, 2]);
      assert(front.running.context.cells.ready);
      other.die();
      const gone = await front.post(CHAT, chat());
      assertEquals([gone.status, (await gone.json()).error.code], [502, "cell_lost"]);
      const none = await front.post(CHAT, chat());
      assertEquals([none.status, none.headers.get("retry-after"), (await none.json()).error.code], [503, "1", "no_cell"]);
      assertEquals((await front.app.request("/readyz")).status, 503);
      beat();
      assertEquals((await front.app.request("/readyz")).status, 200);
    }));

  it("gives a whole answer that breaks off to nobody, but has another cell make it", () =>
    withCells(["a", "b"], async ({ front, cells }) => {
      for (const cell of cells) cell.engine.stallAfter = 2;
      const asked = front.post(CHAT, chat());
      const first = await Promise.race(cells.map((cell) => cell.engine.stalled.then(() => cell)));
      for (const cell of cells) cell.engine.stallAfter = null;
      first.die();
      assertEquals(
        (await (await asked).json()).choices[0].message.content,
        (await (await test().post(CHAT, chat())).json()).choices[0].message.content,
      );
    }));

  it("sends nothing more to a cell that drains, whose running requests end by themselves", () =>
    withCells(["a", "b"], async ({ front, cells, beat }) => {
      for (const drained of cells) {
        const before = counts(cells);
        beat((cell) => cell === drained ? { state: "draining" } : {});
        const all = await Promise.all(
          Array.from({ length: 12 }, (_, i) => front.post(CHAT, chat({ stream: i % 2 === 0, messages: [{ role: "user", content: `${i}` }] }))),
        );
        assert(all.every(({ status }) => status === 200));
        await Promise.all(all.map((response) => response.text()));
        const at = cells.indexOf(drained);
        assertEquals(counts(cells)[at], before[at]);
      }
      beat(() => ({ state: "draining" }));
      assertEquals((await (await front.post(CHAT, chat())).json()).error.code, "no_cell");
      beat(() => ({ state: "loading" }));
      assertEquals((await (await front.post(CHAT, chat())).json()).error.code, "loading");
    }));

  const ENDINGS: Record<string, (client: RawClient, front: TestFront) => void> = {
    "its client goes": (client) => client.close(),
    "it is killed": (_, front) => front.cut(),
    "it ends": (_, front) => front.shutdown.abort(),
  };
  for (const [when, end] of Object.entries(ENDINGS)) {
    it(`cancels at the cell when ${when}`, () =>
      withCells(["a"], async ({ front, cells: [cell] }) => {
        for (const stream of when === "its client goes" ? [true, false] : [true]) {
          cell.engine.stallAfter = 2;
          const { stalled } = cell.engine;
          using client = await RawClient.connect(Number(new URL(front.url).port));
          const text = JSON.stringify(chat({ stream }));
          await client.send(`POST ${CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${text.length}\r\n\r\n${text}`);
          await stalled;
          if (stream) await client.until("data: ");
          end(client, front);
          await until(() => cell.engine.requests.at(-1)!.signal.aborted && front.running.context.attempts.size === 0);
        }
        assertEquals(front.running.context.cells.running("a"), 0);
      }));
  }

  it("passes on names of requests and traces, and whose they are, but no key", async () => {
    const keys = ["the-first-of-the-keys", "the-second-of-the-keys"];
    const frontKey = "what-only-fronts-have";
    await using cell = new TestCell("a", test(), { apiKeys: ["what-no-front-knows"], fronts: { key: frontKey } });
    const registry = new TestRegistry();
    registry.set([cell.record()]);
    await using front = await openFront(registry, { apiKeys: keys, limits: { requestsPerMinute: 3 } }, { key: frontKey });
    const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    assertEquals(await statusOf(front.post(CHAT, chat())), 401);
    for (const key of keys) {
      const response = await front.post(CHAT, chat(), { authorization: `Bearer ${key}`, "x-request-id": "my-request", traceparent: trace });
      assertEquals([response.status, response.headers.get("x-request-id")], [200, "my-request"]);
      await response.body!.cancel();
    }
    assertEquals(
      cell.heads.map((head) => [head.get("traceparent"), head.get("x-request-id"), head.get("authorization")]),
      new Array(2).fill([trace, "my-request", `Bearer ${frontKey}`]),
    );
    const clients = cell.engine.requests.map(({ client }) => client);
    assert(new Set(clients).size === 2 && clients.every((client) => client !== "" && !keys.includes(client!)), clients.join());
    const statuses = [];
    for (let i = 0; i < 3; i++) statuses.push(await statusOf(front.post(CHAT, chat(), { "x-api-key": keys[0] })));
    assertEquals(statuses, [200, 200, 429]);
    await using stranger = await openFront(registry, {}, { key: "what-nobody-has-given" });
    const refused = await stranger.post(CHAT, chat());
    assertEquals([refused.status, (await refused.json()).error.code], [502, "front_refused"]);
  });

  it("takes bodies as long as a cell's context, and says by its own flags what a client may do", () =>
    withCells(["a"], async ({ front, cells, registry }) => {
      const padded = (bytes: number) => JSON.stringify(chat()).padEnd(bytes, " ");
      assertEquals(await statusOf(front.post(CHAT, padded(4 << 20))), 200);
      const refused = await front.post(CHAT, padded((4 << 20) + 1));
      const { error } = await refused.json();
      assertEquals([refused.status, error.code, error.message], [
        413,
        "request_too_large",
        `The request body exceeds ${4 << 20} bytes; no cell's context takes more`,
      ]);
      // What a record says that nobody can believe.
      registry.set([cells[0].record({ maxContext: 1e15, beat: 1 })]);
      const huge = await RawClient.connect(Number(new URL(front.url).port));
      await huge.send(`POST ${CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${(128 << 20) + 1}\r\n\r\n`);
      await huge.until("413");
      huge.close();
      await using limited = await openFront(registry, { limits: { requestsPerMinute: 1 } });
      assertEquals(await statusOf(limited.post(CHAT, chat())), 200);
      assertStringIncludes((await (await limited.post(CHAT, chat())).json()).error.message, "(--requests-per-minute)");
    }));

  it("finds the cell that keeps an item which a response refers to", () =>
    withCells(["a", "b"], async ({ front, cells }) => {
      const { output: [{ id }] } = await (await front.post("/v1/responses", { input: "What is a kettle?", max_output_tokens: 3 })).json();
      const at = cells.findIndex(({ engine }) => engine.requests.length > 0);
      for (let i = 0; i < 6; i++) {
        const input = [{ role: "user", content: `Question ${i}` }, { type: "item_reference", id }, { role: "user", content: "And?" }];
        assertEquals(await statusOf(front.post("/v1/responses", { input, max_output_tokens: 1 })), 200);
      }
      assertEquals(counts(cells)[at], 7);
    }));

  it("reads no more of a cell's answer than its client takes", async () => {
    let sent = 0;
    const listener = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => {
      const event = new TextEncoder().encode(`:tokens 0=1\ndata: ${"x".repeat(60_000)}\n\n`);
      const stream = new ReadableStream({
        pull(controller) {
          sent++;
          controller.enqueue(event);
        },
      }, { highWaterMark: 0 });
      return new Response(stream, { headers: { "content-type": "text/event-stream" } });
    });
    await using cell = new TestCell("a", test());
    const registry = new TestRegistry();
    registry.set([cell.record({ url: `http://127.0.0.1:${listener.addr.port}` })]);
    await using front = await openFront(registry);
    const client = await RawClient.connect(Number(new URL(front.url).port));
    const text = JSON.stringify(chat({ stream: true }));
    await client.send(`POST ${CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${text.length}\r\n\r\n${text}`);
    await client.until("data: xxx");
    // Buffers of sockets fill, and then it stands still.
    let before = -1;
    await until(async () => {
      const still = before === sent;
      before = sent;
      await new Promise((resolve) => setTimeout(resolve, 60));
      return still && sent > 1;
    });
    assert(sent < 2000, `${sent} events of 60 kB were read for a client that takes none`);
    client.close();
    await until(() => front.running.context.attempts.size === 0);
    await listener.shutdown();
  });
});
