/**
 * The accepting side of a WebSocket (RFC 6455) between workers: binary messages, each in one frame. Deno's own has no limit below 64 MiB, and holds as much of a
 * message that never ends, from whoever connects; here the limit is small until the other side has proved who it is, and a socket that breaks it is cut.
 *
 * @module
 */
import { LatentmeshError, messageOf } from "../../../core/errors.ts";
import { type Connection, ConnectionReader, writeAll } from "../../../core/net/connection.ts";
import { MAX_FRAME_BYTES, MAX_HANDSHAKE_BYTES } from "../../../core/wire/protocol.ts";
import type { Socket } from "../../../core/wire/transport.ts";

const OPCODES = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;
/** Bytes that a control frame may carry. */
const MAX_CONTROL = 125;
/** Milliseconds after which a connection is cut whose other side does not close it. */
const CLOSE_PATIENCE = 1000;

const CLOSE_ABNORMAL = 1006;
const CLOSE_PROTOCOL = 1002;
const CLOSE_TOO_BIG = 1009;

/** A frame that must not be. */
class FrameError extends Error {
  readonly code: number;
  constructor(code: number, problem: string) {
    super(problem);
    this.code = code;
  }
}

/** What an owner of connections does about one. */
export interface ConnectionOwner {
  /** Ends the connection. */
  cut(): void;
  /** The other side has proved who it is. */
  trusted(): void;
}

/** An accepted socket. */
export class ServerSocket implements Socket {
  readonly from: string;
  binaryType = "arraybuffer";
  onmessage: Socket["onmessage"] = null;
  onclose: Socket["onclose"] = null;
  onerror: Socket["onerror"] = null;
  readonly #connection: Connection;
  readonly #reader: ConnectionReader;
  readonly #owner: ConnectionOwner;
  readonly #queue: Uint8Array<ArrayBuffer>[] = [];
  #limit = MAX_HANDSHAKE_BYTES;
  #writing = false;
  #closing = false;
  #ended = false;

  constructor(connection: Connection, reader: ConnectionReader, from: string, owner: ConnectionOwner) {
    this.from = from;
    this.#connection = connection;
    this.#reader = reader;
    this.#owner = owner;
  }

  /** Reads messages until the connection ends. */
  async run(): Promise<void> {
    try {
      while (await this.#readFrame());
    } catch (error) {
      if (error instanceof FrameError && !this.#ended) {
        this.onerror?.(new LatentmeshError("protocol", messageOf(error)));
        // Who is told may have words of its own for the other side.
        await new Promise((resolve) => setTimeout(resolve));
        this.close(error.code, error.message);
        await this.#flushed();
      }
    } finally {
      this.#end(CLOSE_ABNORMAL, "");
    }
  }

  trust(): void {
    this.#limit = MAX_FRAME_BYTES;
    this.#owner.trusted();
  }

  send(data: Uint8Array<ArrayBuffer>): void {
    if (this.#closing || this.#ended) return;
    this.#write(frameOf(OPCODES.binary, data));
  }

  close(code = 1000, reason = ""): void {
    if (this.#closing || this.#ended) return;
    const text = new TextEncoder().encode(reason).slice(0, MAX_CONTROL - 2);
    this.#write(frameOf(OPCODES.close, Uint8Array.of(code >> 8, code & 255, ...text)));
    this.#closing = true;
    const timer = setTimeout(() => this.#end(code, reason), CLOSE_PATIENCE);
    this.#cancelTimer = () => clearTimeout(timer);
  }

  #cancelTimer = () => {};

  /** @returns whether another may follow */
  async #readFrame(): Promise<boolean> {
    const head = await this.#reader.readInto(new Uint8Array(2));
    if (head === null) return false;
    const opcode = head[0] & 15;
    // Extensions are not agreed on, and messages come in one piece.
    if ((head[0] & 0xf0) !== 0x80 || opcode === 0) throw new FrameError(CLOSE_PROTOCOL, "A message is compressed or in pieces");
    if ((head[1] & 0x80) === 0) throw new FrameError(CLOSE_PROTOCOL, "A frame of a client is not masked");
    const length = await this.#readLength(head[1] & 127);
    if (length === null) return false;
    const most = opcode >= 8 ? MAX_CONTROL : this.#limit;
    if (length > most) throw new FrameError(CLOSE_TOO_BIG, `A frame has ${length} bytes; the most are ${most}`);
    const mask = await this.#reader.readInto(new Uint8Array(4));
    const payload = mask === null ? null : await this.#reader.readInto(new Uint8Array(length));
    if (payload === null) return false;
    unmask(payload, mask!);
    return this.#receive(opcode, payload);
  }

  async #readLength(short: number): Promise<number | null> {
    if (short < 126) return short;
    const bytes = await this.#reader.readInto(new Uint8Array(short === 126 ? 2 : 8));
    if (bytes === null) return null;
    const view = new DataView(bytes.buffer);
    return short === 126 ? view.getUint16(0) : Number(view.getBigUint64(0));
  }

  #receive(opcode: number, payload: Uint8Array<ArrayBuffer>): boolean {
    switch (opcode) {
      case OPCODES.binary:
        this.onmessage?.({ data: payload.buffer });
        return true;
      case OPCODES.text:
        this.onmessage?.({ data: new TextDecoder().decode(payload) });
        return true;
      case OPCODES.ping:
        if (!this.#closing) this.#write(frameOf(OPCODES.pong, payload));
        return true;
      case OPCODES.pong:
        return true;
      case OPCODES.close: {
        const code = payload.length < 2 ? 1005 : (payload[0] << 8) | payload[1];
        const reason = new TextDecoder().decode(payload.subarray(2));
        this.close(code === 1005 ? 1000 : code);
        void this.#flushed().then(() => this.#end(code, reason));
        return false;
      }
      default:
        throw new FrameError(CLOSE_PROTOCOL, `Frames of kind ${opcode} are not known here`);
    }
  }

  #write(frame: Uint8Array<ArrayBuffer>): void {
    this.#queue.push(frame);
    if (!this.#writing) void this.#drain();
  }

  async #drain(): Promise<void> {
    this.#writing = true;
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) await writeAll(this.#connection, next);
    } catch {
      this.#end(CLOSE_ABNORMAL, "");
    } finally {
      this.#writing = false;
      this.#wake();
    }
  }

  #wake = () => {};

  async #flushed(): Promise<void> {
    while (this.#writing && !this.#ended) await new Promise<void>((resolve) => this.#wake = resolve);
  }

  #end(code: number, reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#cancelTimer();
    this.#queue.length = 0;
    this.#wake();
    this.#owner.cut();
    this.onclose?.({ code, reason });
  }
}

/** A frame with a copy of its payload: senders fill theirs again. */
function frameOf(opcode: number, payload: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const { length } = payload;
  const headBytes = length < 126 ? 2 : length < 65536 ? 4 : 10;
  const frame = new Uint8Array(headBytes + length);
  frame[0] = 0x80 | opcode;
  frame[1] = length < 126 ? length : length < 65536 ? 126 : 127;
  const view = new DataView(frame.buffer);
  if (headBytes === 4) view.setUint16(2, length);
  if (headBytes === 10) view.setBigUint64(2, BigInt(length));
  frame.set(payload, headBytes);
  return frame;
}

/** In place, four bytes at a time. */
function unmask(payload: Uint8Array<ArrayBuffer>, mask: Uint8Array<ArrayBuffer>): void {
  const whole = payload.length >> 2;
  const [word] = new Uint32Array(mask.buffer, 0, 1);
  const words = new Uint32Array(payload.buffer, 0, whole);
  for (let i = 0; i < whole; i++) words[i] ^= word;
  for (let i = whole * 4; i < payload.length; i++) payload[i] ^= mask[i & 3];
}
