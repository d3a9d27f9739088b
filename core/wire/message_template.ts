/**
 * Messages that are the same but for one number, such as an id: they need not be packed each time, nor decoded and checked.
 *
 * @module
 */
import { invariant } from "../errors.ts";
import { packMessage } from "./codec.ts";

/** Numbers that go into a template: those that MessagePack may keep in four bytes, though fewer would do for most. */
export const MOST_IN_TEMPLATE = 2 ** 31 - 1;
const NUMBER_BYTES = 4;

/** A packed message with room for a number. */
export class MessageTemplate {
  /** Where the number is, most significant byte first. */
  readonly at: number;
  readonly #packed: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;

  /** @param field whose number differs, from 0 to {@link MOST_IN_TEMPLATE} */
  constructor(message: object, field: string) {
    // Copied: what is packed lies in memory that the next message may be packed into.
    const pack = (number: number) => new Uint8Array(packMessage({ ...message, [field]: number }));
    const [packed, other] = [pack(MOST_IN_TEMPLATE), pack(MOST_IN_TEMPLATE - 1)];
    const differing = Array.from(packed.keys()).filter((i) => packed[i] !== other[i]);
    invariant(packed.byteLength === other.byteLength && differing.length === 1, `"${field}" is not a number of its own in a message`);
    this.at = differing[0] + 1 - NUMBER_BYTES;
    this.#packed = packed;
    this.#view = new DataView(packed.buffer);
  }

  /** The message with a number, packed; valid until the next call. */
  with(number: number): Uint8Array<ArrayBuffer> {
    this.#view.setUint32(this.at, number);
    return this.#packed;
  }

  /** The number with which this template would give `packed`; null if there is none. */
  numberIn(packed: Uint8Array<ArrayBuffer>): number | null {
    const template = this.#packed;
    if (packed.byteLength !== template.byteLength) return null;
    const { at } = this;
    for (let i = 0; i < at; i++) if (packed[i] !== template[i]) return null;
    for (let i = at + NUMBER_BYTES; i < packed.length; i++) if (packed[i] !== template[i]) return null;
    const number = ((packed[at] << 24) | (packed[at + 1] << 16) | (packed[at + 2] << 8) | packed[at + 3]) >>> 0;
    return number <= MOST_IN_TEMPLATE ? number : null;
  }
}
