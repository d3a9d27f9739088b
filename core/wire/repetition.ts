/**
 * Messages of one kind that follow each other and are mostly the same but for their id, as the requests and replies of decode steps are. What was packed or checked
 * once is used again; a message that differs in anything else goes the usual way.
 *
 * @module
 */
import { encodeFrame, type Frame, packFrame, splitFrame } from "./codec.ts";
import { MessageTemplate, MOST_IN_TEMPLATE } from "./message_template.ts";

interface Numbered {
  readonly id: number;
}

/** The sending side. */
export class RepeatedSending {
  readonly #last = new Last();

  /** As `encodeFrame` gives it, or with an id in more bytes than it needs. */
  encode(message: Numbered, payload?: ArrayBufferView<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    const template = this.#last.see(message);
    return template === null || message.id > MOST_IN_TEMPLATE ? encodeFrame(message, payload) : packFrame(template.with(message.id), payload);
  }
}

/** The receiving side. */
export class RepeatedReceiving<M extends Numbered> {
  readonly #last = new Last();
  #message: M | null = null;

  /** The frame, if its message is the last one but for its id; null: decode and check it, and {@link note} what comes of it. */
  decode(frame: Uint8Array<ArrayBuffer>): { readonly message: M; readonly payload: Uint8Array<ArrayBuffer> } | null {
    const { template } = this.#last;
    if (template === null) return null;
    const { header, payload } = splitFrame(frame);
    const id = template.numberIn(header);
    return id === null ? null : { message: { ...this.#message!, id }, payload };
  }

  /** Takes note of a message that came. @param raw as it was decoded @param message as it was checked */
  note(raw: Frame["message"], message: M): void {
    this.#last.see(raw as Numbered);
    this.#message = message;
  }
}

/** The last message. */
class Last {
  /** Made when the same has come twice: many are the only one of their kind. */
  template: MessageTemplate | null = null;
  #message: Numbered | null = null;

  see(message: Numbered): MessageTemplate | null {
    if (this.#message === null || !isSameButId(this.#message, message)) this.template = null;
    else this.template ??= new MessageTemplate(message, "id");
    this.#message = message;
    return this.template;
  }
}

/** Whether messages have the same fields, in the same order, and nothing in them but the id differs; what has parts is taken to differ. */
function isSameButId(a: Numbered, b: Numbered): boolean {
  const [before, now] = [Object.entries(a), Object.entries(b)];
  return before.length === now.length && now.every(([key, value], i) => {
    const [otherKey, other] = before[i];
    return key === otherKey && (key === "id" || value === other || isEmptyList(value) && isEmptyList(other));
  });
}

function isEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}
