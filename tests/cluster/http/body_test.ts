import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { HeldBody } from "../../../cluster/http/body.ts";
import { Budget } from "../../../cluster/http/budget.ts";
import { HttpError } from "../../../cluster/api/errors.ts";
import { jsonBytes, jsonResponse, WrittenJson } from "../../../cluster/http/json.ts";

/** A request whose body comes in pieces. */
function request(pieces: Iterable<number>, length?: number): Request {
  const body = ReadableStream.from((function* () {
    for (const bytes of pieces) yield new Uint8Array(bytes).fill(7);
  })());
  return new Request("http://x/", { method: "POST", body, headers: length === undefined ? {} : { "content-length": String(length) } });
}

describe("a body", () => {
  it("is read whole into one buffer, and counts for as long as it is held", async () => {
    const budget = new Budget({ total: 1_000_000, perClient: 1_000_000 });
    {
      using body = await HeldBody.read(request(Array.from({ length: 5000 }, () => 7)), "a", { maxBytes: 100_000, budget });
      assertEquals([body.bytes.length, body.bytes.every((byte) => byte === 7)], [35_000, true]);
      assert(body.bytes.buffer.byteLength <= 100_000 && budget.held === body.bytes.buffer.byteLength, `${budget.held}`);
    }
    assertEquals(budget.held, 0);
    (await HeldBody.read(request([100_000], 100_000), "a", { maxBytes: 100_000, budget }))[Symbol.dispose]();
    assertEquals(budget.held, 0);
  });

  it("is refused when it is too large, announced or not, and what it held is given back", async () => {
    const budget = new Budget({ total: 1_000_000, perClient: 1_000_000 });
    const limits = { maxBytes: 1000, budget };
    for (const body of [request([], 1001), request([500, 501])]) {
      const error = await assertRejects(() => HeldBody.read(body, "a", limits), HttpError, "server.maxBodyBytes");
      assertEquals(error.status, 413);
    }
    assertEquals(budget.held, 0);
  });

  it("is refused by name when it is compressed", async () => {
    const limits = { maxBytes: 100_000, budget: new Budget({ total: 1_000_000, perClient: 1_000_000 }) };
    const compressed = (encoding: string) => new Request("http://x/", { method: "POST", body: "{}", headers: { "content-encoding": encoding } });
    for (const encoding of ["gzip", "br", "x".repeat(1000)]) {
      const error = await assertRejects(() => HeldBody.read(compressed(encoding), "a", limits), HttpError, encoding.slice(0, 64));
      assertEquals(error.status, 415);
    }
    for (const plain of ["identity", "Identity"]) (await HeldBody.read(compressed(plain), "a", limits))[Symbol.dispose]();
    assertEquals(limits.budget.held, 0);
  });

  it("is refused when others are being read that have too much together, of one client or of all", async () => {
    const budget = new Budget({ total: 100_000, perClient: 60_000 });
    const limits = { maxBytes: 50_000, budget };
    using _first = await HeldBody.read(request([50_000], 50_000), "a", limits);
    const error = await assertRejects(() => HeldBody.read(request([20_000], 20_000), "a", limits), HttpError, "of this client");
    assertEquals([error.status, error.retryAfter], [429, 1]);
    using _second = await HeldBody.read(request([30_000], 30_000), "b", limits);
    await assertRejects(() => HeldBody.read(request([30_000], 30_000), "c", limits), HttpError, "All requests");
    // One that grows is refused when it has grown too far.
    await assertRejects(() => HeldBody.read(request(Array.from({ length: 30 }, () => 1000)), "c", limits), HttpError, "All requests");
    assertEquals(budget.held, 80_000);
    assertThrows(() => budget.take("b", 40_000), HttpError);
  });
});

describe("JSON in pieces", () => {
  const value = {
    id: "x\n",
    none: undefined,
    nothing: null,
    choices: Array.from({ length: 3 }, (_, index) => ({
      index,
      logprobs: { content: Array.from({ length: 200 }, (_, i) => ({ token: `${i}`, top: [i, i], missing: undefined })) },
      token_ids: Array.from({ length: 1000 }, (_, i) => i),
    })),
    empty: { list: [], object: {} },
  };

  it("is the JSON it would be at once", async () => {
    const whole = JSON.stringify(value);
    assertEquals(new TextDecoder().decode(jsonBytes(value)), whole);
    assertEquals(await jsonResponse(value).text(), whole);
    const written = new WrittenJson(new TextEncoder().encode(whole));
    assertEquals(JSON.parse(new TextDecoder().decode(jsonBytes({ a: 1, written }))), { a: 1, written: JSON.parse(whole) });
  });
});
