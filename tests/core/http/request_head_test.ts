import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { bodyDecoder } from "../../../core/http/body_decoder.ts";
import { type BodyFraming, endOfHead, HttpSyntaxError, parseRequestHead } from "../../../core/http/request_head.ts";
import { SEED } from "../../../bench/support/random.ts";

const bytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
const parse = (...lines: string[]) => parseRequestHead(bytes([...lines, "", ""].join("\r\n")));

function statusOf(body: () => unknown): number | null {
  try {
    body();
    return null;
  } catch (error) {
    assert(error instanceof HttpSyntaxError, String(error));
    return error.status;
  }
}

describe("the head of a request", () => {
  it("is read with its fields, framing and wishes", () => {
    const head = parse(
      "POST /v1/x?y=1 HTTP/1.1",
      "Host: a.example:8080",
      "X-Thing: \t a: b \t",
      "x-thing:",
      "Content-Length: 12",
      "Expect: 100-continue",
    );
    assertEquals([head.method, head.target, head.minor, head.host], ["POST", "/v1/x?y=1", 1, "a.example:8080"]);
    assertEquals(head.fields[1], ["x-thing", "a: b"]);
    assertEquals(head.fields[2], ["x-thing", ""]);
    assertEquals([head.body, head.keepAlive, head.expectsContinue], [{ kind: "length", bytes: 12 }, true, true]);
    assertEquals(parse("GET http://a.example/b?c HTTP/1.1", "host: a.example").target, "/b?c");
    assertEquals(parse("GET / HTTP/1.1", "host: [::1]:1", "connection: Foo, Close").keepAlive, false);
    const old = parse("GET / HTTP/1.0");
    assertEquals([old.keepAlive, old.host, old.body.kind], [false, "", "none"]);
    assertEquals(parse("GET / HTTP/1.0", "connection: keep-alive").keepAlive, true);
  });

  const host = "host: x";
  const refused: [why: string, status: number, lines: string[]][] = [
    ["is no request", 400, ["hello"]],
    ["has blanks where there is one", 400, ["GET  / HTTP/1.1", host]],
    ["has a target that is no path", 400, ["GET x HTTP/1.1", host]],
    ["is of HTTP/2", 505, ["PRI * HTTP/2.0"]],
    ["has no host", 400, ["GET / HTTP/1.1"]],
    ["has two", 400, ["GET / HTTP/1.1", host, host]],
    ["has one that is more than a name", 400, ["GET / HTTP/1.1", "host: a/b"]],
    ["has a blank before the colon", 400, ["GET / HTTP/1.1", host, "content-length : 1"]],
    ["goes on with a line before", 400, ["GET / HTTP/1.1", host, " x: y"]],
    ["has a line feed alone", 400, ["GET / HTTP/1.1", host, "a: b\nc: d"]],
    ["has a carriage return alone", 400, ["GET / HTTP/1.1", host, "a: b\rc: d"]],
    ["has a zero", 400, ["GET / HTTP/1.1", host, "a: \0"]],
    ["has two lengths", 400, ["POST / HTTP/1.1", host, "content-length: 1", "content-length: 1"]],
    ["has a list of lengths", 400, ["POST / HTTP/1.1", host, "content-length: 1, 1"]],
    ["has a length with a sign", 400, ["POST / HTTP/1.1", host, "content-length: +1"]],
    ["has a length and chunks", 400, ["POST / HTTP/1.1", host, "content-length: 1", "transfer-encoding: chunked"]],
    ["has another coding", 501, ["POST / HTTP/1.1", host, "transfer-encoding: gzip, chunked"]],
    ["has chunks in HTTP/1.0", 400, ["POST / HTTP/1.0", host, "transfer-encoding: chunked"]],
    ["expects something else", 417, ["POST / HTTP/1.1", host, "expect: miracles"]],
    ["has too many fields", 431, ["GET / HTTP/1.1", host, ...Array.from({ length: 100 }, (_, i) => `a${i}: b`)]],
  ];
  for (const [why, status, lines] of refused) it(`is refused when it ${why}`, () => assertEquals(statusOf(() => parse(...lines)), status));

  it("is parsed or refused, whatever the bytes, in time that does not grow with their square", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (noise) => {
        const head = Uint8Array.from([...bytes("GET / HTTP/1.1\r\nhost: x\r\n"), ...noise, 13, 10, 13, 10]);
        statusOf(() => parseRequestHead(head.slice(0, endOfHead(head, 0))));
      }),
      { seed: SEED, numRuns: 500 },
    );
    assertEquals(statusOf(() => parse("GET / HTTP/1.1", host, `a:${" ".repeat(16_000)}b`)), null);
  });

  it("ends where its empty line does, whatever pieces it comes in", () => {
    const text = bytes("GET / HTTP/1.1\r\nhost: x\r\n\r\nrest\r\n\r\n");
    for (let have = 0; have <= text.length; have++) {
      assertEquals(endOfHead(text.subarray(0, have), Math.max(0, have - 4)) > 0, have === 27 || have === text.length);
    }
    assertEquals(endOfHead(text, 0), 27);
  });
});

/** Decodes a body that comes in pieces. */
function decode(framing: BodyFraming, wire: Uint8Array<ArrayBuffer>, cuts: readonly number[]): { data: number[]; used: number; done: boolean } {
  const decoder = bodyDecoder(framing);
  const data: number[] = [];
  let at = 0;
  for (const cut of [...cuts, wire.length]) {
    let piece = wire.subarray(at, Math.min(wire.length, at + cut));
    while (piece.length > 0 && !decoder.done) {
      const { data: some, used } = decoder.push(piece);
      data.push(...some);
      at += used;
      piece = piece.subarray(used);
    }
  }
  return { data, used: at, done: decoder.done };
}

describe("the body of a request", () => {
  const pieces = fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 30 });

  it("is what was sent, in chunks or not, however it is cut, and ends where it ends", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 60 }), { maxLength: 8 }), pieces, (chunks, cuts) => {
        const body = chunks.flatMap((chunk) => [...chunk]);
        const next = [..."GET /"].map((character) => character.charCodeAt(0));
        const chunked = chunks.flatMap((chunk) => [...bytes(`${chunk.length.toString(16).toUpperCase()};x=y\r\n`), ...chunk, 13, 10]);
        const wire = Uint8Array.from([...chunked, ...bytes("0\r\nTrailer: x\r\n\r\n"), ...next]);
        assertEquals(decode({ kind: "chunked" }, wire, cuts), { data: body, used: wire.length - next.length, done: true });
        if (body.length === 0) return;
        assertEquals(decode({ kind: "length", bytes: body.length }, Uint8Array.from([...body, ...next]), cuts), {
          data: body,
          used: body.length,
          done: true,
        });
      }),
      { seed: SEED },
    );
  });

  it("is refused where chunks could be read in two ways, or say nothing at length", () => {
    const status = (text: string) => statusOf(() => decode({ kind: "chunked" }, bytes(text), []));
    for (
      const text of [
        "3\nabc",
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "0x3\r\nabc\r\n",
        "3\r\nabcd\r\n",
        "3\r\r\nabc",
        "1000000000000000\r\n",
        `1;${"x".repeat(300)}`,
      ]
    ) {
      assertEquals(status(text), 400, JSON.stringify(text));
    }
    assertEquals(status(`0\r\n${"a: b\r\n".repeat(1000)}\r\n`), 431);
  });
});
