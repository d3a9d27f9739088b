import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { HttpError } from "../../../cluster/api/errors.ts";
import { continuationRequest } from "../../../cluster/api/continuation_schema.ts";
import { readFrontRequest } from "../../../cluster/front/front_request.ts";
import { RequestReader } from "../../../cluster/front/request_reader.ts";
import { CHAT, chat } from "../../support/cells.ts";

const bytesOf = (body: unknown) => new TextEncoder().encode(typeof body === "string" ? body : JSON.stringify(body));
const large = (change: object = {}) => bytesOf(chat({ messages: [{ role: "user", content: "A long text. ".repeat(30_000) }], ...change }));

describe("bodies of requests", () => {
  it("are read alike, large and small, each for who asked, and stay as they are", async () => {
    using reader = new RequestReader();
    const bodies = [large({ model: "a" }), bytesOf(chat({ model: "b" })), large({ model: "c", stream: true, n: 2, logprobs: true })];
    const copies = bodies.map((body) => body.slice());
    const read = await Promise.all(bodies.map((body) => reader.read(CHAT, body, "client")));
    assertEquals(read, copies.map((body) => readFrontRequest(CHAT, body, "client")));
    assertEquals(bodies, copies);
  });

  it("are refused alike, and others are read behind them", async () => {
    using reader = new RequestReader();
    const wrong = [bytesOf("x".repeat(1 << 20)), large({ model: 5 }), bytesOf(JSON.stringify(["x".repeat(1 << 20)]))];
    const refusals = wrong.map((body) => assertRejects(() => reader.read(CHAT, body, ""), HttpError));
    const after = reader.read(CHAT, large({ model: "a" }), "");
    assertEquals((await Promise.all(refusals)).map(({ status, body }) => [status, body.error.code]), [
      [400, "invalid_json"],
      [400, "invalid_value"],
      [400, "invalid_value"],
    ]);
    assertEquals((await after).model, "a");
  });

  it("are given to the cell that goes on as they are, large and small, with tokens however many", async () => {
    using reader = new RequestReader();
    const tokens = [[1, 2, 3], Array.from({ length: 50_000 }, (_, i) => i)];
    for (const body of [large(), bytesOf(chat({ user: "Ünïcode" }))]) {
      for (const resumed of [tokens, [[7]]]) {
        const copy = body.slice();
        const continuation = { path: CHAT, body, resumption: { seed: "-5", tokens: resumed }, equal: { fingerprint: "f" } };
        const { body: text, ...rest } = continuationRequest.parse(
          JSON.parse(new TextDecoder().decode(await reader.writeContinuation(continuation, ""))),
        );
        assertEquals(rest, { path: CHAT, seed: "-5", tokens: resumed, fingerprint: "f" });
        assertEquals(bytesOf(text), copy);
        assertEquals(body, copy);
      }
    }
  });

  it("are read in turns of clients, and given up where reading one takes too long", async () => {
    const order: string[] = [];
    const readAll = (reader: RequestReader, after: (name: string, reading: Promise<unknown>) => Promise<unknown>) =>
      Promise.all(["a 1", "a 2", "b"].map((name) => after(name, reader.read(CHAT, large(), name[0])).then(() => order.push(name))));
    using patient = new RequestReader();
    await readAll(patient, (_, reading) => reading);
    assertEquals(order, ["a 1", "b", "a 2"]);
    // No thread has begun by then.
    using impatient = new RequestReader({ limitMs: 1 });
    await readAll(impatient, async (_, reading) => {
      const { status, body } = await assertRejects(() => reading, HttpError, "took longer");
      assertEquals([status, body.error.code], [400, "invalid_json"]);
    });
    assertEquals(order.slice(3), ["a 1", "b", "a 2"]);
  });

  it("are read no longer when the front ends, and nobody waits", async () => {
    const reader = new RequestReader();
    const refused = assertRejects(() => reader.read(CHAT, large(), ""), HttpError, "stopping");
    reader[Symbol.dispose]();
    assertEquals((await refused).status, 503);
    // A thread that was begun now would be ended by nobody.
    assertEquals((await assertRejects(() => reader.read(CHAT, large(), ""), HttpError, "stopping")).status, 503);
  });
});
