/**
 * What is neither packed nor decoded again: it must be what packing and decoding would give.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { LatentmeshError } from "../../../core/errors.ts";
import { decodeFrame, encodeFrame, packMessage } from "../../../core/wire/codec.ts";
import { MessageTemplate, MOST_IN_TEMPLATE } from "../../../core/wire/message_template.ts";
import { parseMessage, type Reply, replySchema, type Request, requestSchema } from "../../../core/wire/messages.ts";
import { RepeatedReceiving, RepeatedSending } from "../../../core/wire/repetition.ts";
import { RpcClient, serveRequests } from "../../../core/wire/rpc.ts";
import { linked } from "../../support/links.ts";
import { SEED } from "../../../bench/support/random.ts";

const count = fc.integer({ min: 1, max: 2 });
const ids = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 2 ** 31 }));
const grown = fc.array(fc.record({ sequence: count, blocks: fc.array(count, { maxLength: 2 }) }, { noNullPrototype: true }), { maxLength: 2 });

/** Steps that are often the same but for their id, between other requests. */
const requests = fc.tuple(ids, count, fc.option(grown, { freq: 1, nil: null }), fc.integer({ min: 0, max: 5 })).map((
  [id, rows, grow, other],
): Request =>
  other === 0
    ? { kind: "probe", epoch: rows, id }
    : { epoch: 1, rows, asks: 1, forks: [], behind: null, grow: other === 1 ? grow ?? [] : [], kind: "step", id }
);
const replies = fc.tuple(ids, count, fc.integer({ min: 0, max: 5 })).map(([id, sums, other]): Reply =>
  other === 0 ? { kind: "done", id } : { kind: "candidates", sums, id }
);
const payloads = fc.option(fc.uint8Array({ minLength: 1, maxLength: 9 }), { nil: undefined });

/** As a link takes frames in. @returns how many needed no decoding */
function exchange<M extends Request | Reply>(
  messages: readonly (readonly [M, Uint8Array | undefined])[],
  schema: typeof requestSchema | typeof replySchema,
): number {
  const [sending, receiving] = [new RepeatedSending(), new RepeatedReceiving<M>()];
  let repeated = 0;
  for (const [message, bytes] of messages) {
    const payload = bytes && Uint8Array.from(bytes);
    const frame = sending.encode(message, payload);
    // Whatever a frame looks like, it means what it would if it had been packed by itself.
    const usual = decodeFrame(frame);
    assertEquals(parseMessage(schema, usual.message), parseMessage(schema, decodeFrame(encodeFrame(message, payload)).message));
    const known = receiving.decode(frame);
    if (known === null) receiving.note(usual.message, parseMessage(schema, usual.message) as M);
    else repeated++;
    assertEquals(known?.message ?? parseMessage(schema, usual.message), message);
    assertEquals([...(known ?? usual).payload], [...(payload ?? [])]);
  }
  return repeated;
}

describe("messages that repeat", () => {
  it("are what they would be if each was packed, decoded and checked", () => {
    let repeated = 0;
    for (const [messages, schema] of [[requests, requestSchema], [replies, replySchema]] as const) {
      fc.assert(
        fc.property(fc.array(fc.tuple<[Request | Reply, Uint8Array | undefined]>(messages, payloads), { maxLength: 30 }), (list) => {
          repeated += exchange(list, schema);
        }),
        { seed: SEED },
      );
    }
    assert(repeated > 50, `${repeated} were`);
  });

  it("are decoded if a single byte differs anywhere but in the id", () => {
    const steps = [7, 8, 9].map((id): Request => ({ kind: "step", id, epoch: 1, rows: 1, asks: 1, forks: [], behind: null, grow: [] }));
    const [sending, receiving] = [new RepeatedSending(), new RepeatedReceiving<Request>()];
    let frame: Uint8Array<ArrayBuffer> = new Uint8Array(0);
    for (const step of steps) {
      frame = sending.encode(step);
      if (receiving.decode(frame) === null) receiving.note(decodeFrame(frame).message, step);
    }
    assertEquals(receiving.decode(frame)?.message, steps[2]);
    for (let at = 4; at < frame.byteLength; at++) {
      for (const bit of [1, 0x80]) {
        const changed = frame.slice();
        changed[at] ^= bit;
        const known = receiving.decode(changed);
        if (known === null) continue;
        assertEquals(parseMessage(requestSchema, decodeFrame(changed).message), known.message);
        assert(known.message.id !== 9);
      }
    }
    assertThrows(() => receiving.decode(frame.slice(0, -1)), LatentmeshError, "truncated");
    assertThrows(() => receiving.decode(frame.slice(0, 3)), LatentmeshError, "truncated");
  });

  it("have templates only where one number is on its own", () => {
    const template = new MessageTemplate({ kind: "x", turn: 0, list: [1, 2] }, "turn");
    for (const turn of [0, 1, 127, 128, 65536, MOST_IN_TEMPLATE]) {
      assertEquals(decodeFrame(encodeFrame({ packed: template.with(turn) })).message, { packed: template.with(turn) });
      assertEquals(template.numberIn(template.with(turn)), turn);
    }
    assertEquals(template.numberIn(new Uint8Array(packMessage({ kind: "x", turn: MOST_IN_TEMPLATE + 1, list: [1, 2] }))), null);
    assertEquals(template.numberIn(new Uint8Array(packMessage({ kind: "y", turn: 5, list: [1, 2] }))), null);
  });

  it("reach whoever answers, and whoever asked, as they were meant", async () => {
    const [near, far] = linked();
    const seen: Request[] = [];
    serveRequests(far, (request, payload) => {
      seen.push(request);
      if (request.kind === "step" && request.rows === 3) return Promise.reject(new LatentmeshError("capacity", "three rows"));
      return Promise.resolve({ kind: "candidates", sums: request.id % 5 === 0 ? 2 : 1, payload: payload.slice() });
    });
    const client = new RpcClient(near, () => {});
    const rows = [1, 1, 1, 3, 1, 1, 2, 2, 2, 3, 3, 3, 1, 1, 1, 1, 1];
    const outcomes = [];
    for (const [i, count] of rows.entries()) {
      const request = { epoch: 1, rows: count, asks: 1, forks: [], behind: null, grow: i === 14 ? [{ sequence: 1, blocks: [2] }] : [] };
      outcomes.push(
        await client.call("step", request, "candidates", { payload: Uint8Array.of(i, 2), deadlineMs: 1000 })
          .then(({ reply: { sums }, payload }) => [sums, ...payload], (error) => error.message),
      );
    }
    assertEquals(outcomes, rows.map((count, i) => count === 3 ? "three rows" : [(i + 1) % 5 === 0 ? 2 : 1, i, 2]));
    assertEquals(
      seen.map((request) => request.kind === "step" && [request.id, request.rows, request.grow.length]),
      rows.map((count, i) => [i + 1, count, i === 14 ? 1 : 0]),
    );
    near.close();
    await far.closed;
  });
});
