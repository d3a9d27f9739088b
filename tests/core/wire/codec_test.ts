/**
 * Frames: what is sent arrives, and what lies is refused before anything is built.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { Packr } from "msgpackr/pack";
import { LatentmeshError } from "../../../core/errors.ts";
import { decodeFrame, encodeFrame, ReusableFrame } from "../../../core/wire/codec.ts";
import { MAX_DEPTH, MAX_ITEMS } from "../../../core/wire/limits.ts";
import { MAX_FRAME_BYTES, PAYLOAD_ALIGNMENT } from "../../../core/wire/protocol.ts";
import { SEED } from "../../../bench/support/random.ts";

const packr = new Packr({ useRecords: false, mapsAsObjects: true });
const refused = (bytes: Uint8Array<ArrayBuffer>, problem: string) => assertThrows(() => decodeFrame(bytes), LatentmeshError, problem);

/** A frame around raw message bytes. */
function framed(message: Uint8Array): Uint8Array<ArrayBuffer> {
  const frame = new Uint8Array(4 + message.length);
  new DataView(frame.buffer).setUint32(0, message.length, true);
  frame.set(message, 4);
  return frame;
}

/** A message as text, bytes as lists. */
function plain(message: unknown): string {
  return JSON.stringify(message, (_, value) => value instanceof Uint8Array ? [...value] : value);
}

/** Values that MessagePack carries, no deeper than allowed. */
const anyMessage = fc.dictionary(
  fc.string({ maxLength: 8 }).filter((key) => key !== "__proto__"),
  fc.oneof(
    fc.integer(),
    fc.double({ noNaN: true }),
    fc.boolean(),
    fc.constant(null),
    fc.string(),
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Uint8Array.from(bytes)),
    fc.array(fc.integer(), { maxLength: 300 }),
  ),
  { noNullPrototype: true, maxKeys: 20 },
);

describe("frames", () => {
  it("give back what went in, with payloads that any typed array can view", () => {
    fc.assert(
      fc.property(anyMessage, fc.option(fc.uint8Array({ minLength: 1 }), { nil: undefined }), (message, payload) => {
        const bytes = payload === undefined ? undefined : Uint8Array.from(payload);
        const frame = decodeFrame(encodeFrame(message, bytes));
        assertEquals(plain(frame.message), plain(message));
        assertEquals([...frame.payload], [...(bytes ?? [])]);
        if (bytes !== undefined) assertEquals(frame.payload.byteOffset % PAYLOAD_ALIGNMENT, 0);
      }),
      { seed: SEED },
    );
  });

  it("are the same whether filled in place or copied together", () => {
    const reusable = new ReusableFrame(64);
    for (const bytes of [64, 8]) {
      const values = crypto.getRandomValues(reusable.payload(bytes));
      assertEquals(reusable.seal({ kind: "partial", turn: bytes }, bytes), encodeFrame({ kind: "partial", turn: bytes }, values));
    }
  });

  it("are refused when cut anywhere", () => {
    const whole = encodeFrame({ kind: "partial", list: [1, 2, 300], text: "héllo", bytes: new Uint8Array(20) }, new Uint8Array(8));
    const headerEnd = 4 + new DataView(whole.buffer).getUint32(0, true);
    for (let length = 0; length < headerEnd; length++) refused(whole.slice(0, length), "truncated");
    for (let length = headerEnd + 1; length < PAYLOAD_ALIGNMENT; length++) refused(whole.slice(0, length), "truncated");
  });

  it("are refused when they exceed the limits", () => {
    refused(new Uint8Array(MAX_FRAME_BYTES + 1), "more than");
    refused(framed(packr.pack(Array.from({ length: MAX_ITEMS }, () => 0))), "more than");
    let deep: unknown = 1;
    for (let i = 0; i < MAX_DEPTH; i++) deep = [deep];
    decodeFrame(framed(packr.pack(deep)));
    refused(framed(packr.pack([deep])), "nested deeper");
  });

  it("are refused when they hold extensions, reserved bytes, lying counts or more than one message", () => {
    for (const type of [0xc7, 0xc8, 0xc9, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8]) {
      refused(framed(Uint8Array.of(0x91, type, ...new Uint8Array(20))), "extension");
    }
    refused(framed(packr.pack({ when: new Date() })), "extension");
    refused(framed(Uint8Array.of(0xc1)), "reserved");
    refused(framed(Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff)), "truncated");
    refused(framed(Uint8Array.of(0xdf, 0x7f, 0xff, 0xff, 0xff, 0x01)), "truncated");
    refused(framed(Uint8Array.of(0x01, 0x02)), "bytes follow");
  });

  it("are refused by name or decoded, whatever the bytes", () => {
    refused(framed(Uint8Array.of(163, 240, 0, 0)), "Cannot read a frame");
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 200 }), (bytes) => {
        try {
          decodeFrame(framed(Uint8Array.from(bytes)));
        } catch (error) {
          assert(error instanceof LatentmeshError && error.code === "protocol", String(error));
        }
      }),
      { seed: SEED },
    );
  });
});
