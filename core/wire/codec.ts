/**
 * Frames: a MessagePack message, and raw bytes behind it where it describes a tensor.
 *
 *     u32 (little endian): bytes of the message   message   zeros up to a multiple of PAYLOAD_ALIGNMENT   payload
 *
 * Frames without a payload end with the message.
 *
 * @module
 */
// The build in modules: for the one that `require` loads Deno sets up what Node has around it, in every process (bench/NOTES.md).
import { Packr } from "msgpackr/pack";
import { LatentmeshError, messageOf } from "../errors.ts";
import { roundUp } from "../numeric.ts";
import { checkMessagePack, MAX_ITEMS } from "./limits.ts";
import { MAX_FRAME_BYTES, MAX_HEADER_BYTES, PAYLOAD_ALIGNMENT } from "./protocol.ts";

/** A decoded frame. The payload is a view into it. */
export interface Frame {
  /** Not checked yet: parse it with a schema of `messages.ts`. */
  readonly message: unknown;
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** Plain maps without shared structures: every frame can be decoded by itself. */
const packr = new Packr({ useRecords: false, mapsAsObjects: true, encodeUndefinedAsNil: true, variableMapSize: true });

/**
 * Packs a message and, behind it, a copy of a payload.
 *
 * @throws {LatentmeshError} `internal` if the frame would be too large
 */
export function encodeFrame(message: object, payload?: ArrayBufferView<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return packFrame(packMessage(message), payload);
}

/** The same with a message that is packed already. */
export function packFrame(header: Uint8Array<ArrayBuffer>, payload?: ArrayBufferView<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (payload === undefined) {
    const frame = new Uint8Array(4 + header.byteLength);
    writeHeader(frame, header);
    return frame;
  }
  const begin = payloadOffset(header.byteLength);
  const frame = new Uint8Array(begin + payload.byteLength);
  if (frame.byteLength > MAX_FRAME_BYTES) throw new LatentmeshError("internal", `A frame of ${frame.byteLength} bytes exceeds ${MAX_FRAME_BYTES}`);
  writeHeader(frame, header);
  frame.set(new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength), begin);
  return frame;
}

/** A frame that is sent again and again: its payload is filled in place, so that a tensor is not copied once more before it is sent. */
export class ReusableFrame {
  readonly #frame: Uint8Array<ArrayBuffer>;

  /** @param payloadBytes the largest payload */
  constructor(payloadBytes: number) {
    this.#frame = new Uint8Array(PAYLOAD_ALIGNMENT + payloadBytes);
  }

  /** The first `bytes` of the payload, to be filled. */
  payload(bytes: number): Uint8Array<ArrayBuffer> {
    return this.#frame.subarray(PAYLOAD_ALIGNMENT, PAYLOAD_ALIGNMENT + bytes);
  }

  /** The frame with a message in front of `bytes` of payload; valid until the next call. */
  seal(message: object, bytes: number): Uint8Array<ArrayBuffer> {
    return sealFrame(message, this.#frame, { begin: PAYLOAD_ALIGNMENT, bytes });
  }
}

/** Bytes in front of a payload in which any tensor's header fits. */
export const FRAME_FRONT: number = 2 * PAYLOAD_ALIGNMENT;

/**
 * Makes a frame of a payload where it lies.
 *
 * @param memory what is in front of the payload there is overwritten
 * @throws {LatentmeshError} `internal` if the message does not fit, or the frame would be too large
 */
export function sealFrame(
  message: object,
  memory: Uint8Array<ArrayBuffer>,
  payload: { readonly begin: number; readonly bytes: number },
): Uint8Array<ArrayBuffer> {
  const header = packMessage(message);
  const front = payloadOffset(header.byteLength);
  if (front > payload.begin) throw new LatentmeshError("internal", "A tensor's header does not fit in front of it");
  const frame = memory.subarray(payload.begin - front, payload.begin + payload.bytes);
  if (frame.byteLength > MAX_FRAME_BYTES) throw new LatentmeshError("internal", `A frame of ${frame.byteLength} bytes exceeds ${MAX_FRAME_BYTES}`);
  frame.fill(0, 4 + header.byteLength, front);
  writeHeader(frame, header);
  return frame;
}

/** A frame whose message is packed. */
export interface PackedFrame {
  readonly header: Uint8Array<ArrayBuffer>;
  readonly payload: Uint8Array<ArrayBuffer>;
}

/**
 * Splits a frame and decodes its message.
 *
 * @throws {LatentmeshError} `protocol` if it is not such a frame
 */
export function decodeFrame(frame: Uint8Array<ArrayBuffer>): Frame {
  const { header, payload } = splitFrame(frame);
  checkMessagePack(header);
  return { message: unpack(header), payload };
}

/** Splits a frame. @throws {LatentmeshError} `protocol` if its parts are not as long as it says */
export function splitFrame(frame: Uint8Array<ArrayBuffer>): PackedFrame {
  if (frame.byteLength > MAX_FRAME_BYTES) refuse(`it has ${frame.byteLength} bytes, more than ${MAX_FRAME_BYTES}`);
  if (frame.byteLength < 5) refuse("it is truncated");
  const length = new DataView(frame.buffer, frame.byteOffset, 4).getUint32(0, true);
  if (length > MAX_HEADER_BYTES) refuse(`its message has ${length} bytes, more than ${MAX_HEADER_BYTES}`);
  if (4 + length > frame.byteLength) refuse("it is truncated");
  const begin = 4 + length === frame.byteLength ? frame.byteLength : payloadOffset(length);
  if (begin > frame.byteLength) refuse("its payload is truncated");
  return { header: frame.subarray(4, 4 + length), payload: frame.subarray(begin) };
}

function unpack(header: Uint8Array<ArrayBuffer>): unknown {
  try {
    return packr.unpack(header);
  } catch (error) {
    // Text that is not UTF-8, for one.
    return refuse(messageOf(error));
  }
}

/** Packs a message. @throws {LatentmeshError} `internal` if it would be too large */
export function packMessage(message: object): Uint8Array<ArrayBuffer> {
  const header = packr.pack(message);
  if (header.byteLength > MAX_HEADER_BYTES) {
    throw new LatentmeshError("internal", `A message of ${header.byteLength} bytes exceeds ${MAX_HEADER_BYTES}`);
  }
  // What the other side would refuse, and end the link for, fails here, alone. Every item takes a byte at least.
  if (header.byteLength > MAX_ITEMS) checkMessagePack(header as Uint8Array<ArrayBuffer>);
  return header as Uint8Array<ArrayBuffer>;
}

function payloadOffset(headerBytes: number): number {
  return roundUp(4 + headerBytes, PAYLOAD_ALIGNMENT);
}

function writeHeader(frame: Uint8Array<ArrayBuffer>, header: Uint8Array<ArrayBuffer>): void {
  new DataView(frame.buffer, frame.byteOffset, 4).setUint32(0, header.byteLength, true);
  frame.set(header, 4);
}

function refuse(problem: string): never {
  throw new LatentmeshError("protocol", `Cannot read a frame: ${problem}`);
}
