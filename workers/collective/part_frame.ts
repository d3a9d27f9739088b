/**
 * The frame that a rank's parts are sent in. From one exchange to the next only the number of the exchange and the values change, and what the other ranks send has
 * the same header to the byte: neither is packed nor decoded again each time.
 *
 * @module
 */
import { ReusableFrame } from "../../core/wire/codec.ts";
import { MessageTemplate } from "../../core/wire/message_template.ts";
import { dtypeBytes, type PeerFrameOf } from "../../core/wire/messages.ts";
import { MOST_EXCHANGES, PAYLOAD_ALIGNMENT } from "../../core/wire/protocol.ts";

/** What all frames of one lane have in common. */
export type PartKind = Pick<PeerFrameOf<"partial">, "epoch" | "lane" | "dtype">;

/** Bytes in front of a frame's message. */
const LENGTH_BYTES = 4;
const HEADER_WORDS = PAYLOAD_ALIGNMENT / 4;

/** One rank's frame, used again and again. */
export class PartFrame {
  readonly #kind: PartKind;
  #frame = new ReusableFrame(0);
  /** Values that there is room for, and that it was last sealed with. */
  #room = 0;
  #values = -1;
  #sealed: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #header = new Uint32Array(0);
  #turnAt = 0;

  constructor(kind: PartKind) {
    this.#kind = kind;
  }

  /** Where values go before they are sent; valid until more are asked for. */
  payload(values: number): Uint8Array<ArrayBuffer> {
    const perValue = dtypeBytes(this.#kind.dtype);
    if (values > this.#room) {
      this.#frame = new ReusableFrame(values * perValue);
      this.#room = values;
      this.#values = -1;
    }
    return this.#frame.payload(values * perValue);
  }

  /** The frame of an exchange, with what was put into {@link payload}; valid until the next call. */
  seal(turn: number, values: number): Uint8Array<ArrayBuffer> {
    if (values !== this.#values) this.#sealAnew(values);
    new DataView(this.#sealed.buffer).setUint32(this.#turnAt, turn);
    return this.#sealed;
  }

  /** Whether another rank's frame belongs to the exchange that this one was last sealed for, and brings as many values. */
  matches(frame: Uint8Array<ArrayBuffer>): boolean {
    if (frame.byteLength !== this.#sealed.byteLength || frame.byteOffset % 4 !== 0) return false;
    const words = new Uint32Array(frame.buffer, frame.byteOffset, HEADER_WORDS);
    for (let i = 0; i < HEADER_WORDS; i++) if (words[i] !== this.#header[i]) return false;
    return true;
  }

  #sealAnew(values: number): void {
    const byteLength = this.payload(values).byteLength;
    const message = { kind: "partial", turn: MOST_EXCHANGES - 1, ...this.#kind, shape: [values], byteLength } satisfies PeerFrameOf<"partial">;
    this.#sealed = this.#frame.seal(message, byteLength);
    this.#values = values;
    this.#header = new Uint32Array(this.#sealed.buffer, 0, HEADER_WORDS);
    this.#turnAt = LENGTH_BYTES + new MessageTemplate(message, "turn").at;
  }
}
