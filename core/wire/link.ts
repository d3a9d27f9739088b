/**
 * One authenticated connection between two processes: frames in, frames out, and one reason why it ended.
 *
 * @module
 */
import { type ErrorCode, LatentmeshError, messageOf } from "../errors.ts";
import { decodeFrame, encodeFrame, type Frame } from "./codec.ts";
import { authenticate, greet, type HandshakeChannel, type PeerIdentity } from "./handshake.ts";
import { MAX_HANDSHAKE_BYTES } from "./protocol.ts";
import type { Socket } from "./transport.ts";

/** Milliseconds that a handshake may take. */
const HANDSHAKE_TIMEOUT = 5000;

/** Frames that may come before anybody listens: of a handshake, in which each side waits for the other, and after it. */
const MOST_EARLY_HANDSHAKE = 4;
const MOST_EARLY = 64;

/** Close code of links that broke protocol; the reason says how. */
const CLOSE_PROTOCOL = 4400;
/** Close code of links that are turned away for good: who they lead to has other files, say. */
const CLOSE_REFUSED = 4403;
/** Close code of links that are turned away for now. */
const CLOSE_LATER = 4503;
const CLOSE_NORMAL = 1000;

const CLOSE_CODES: Partial<Record<ErrorCode, number>> = { unauthorized: CLOSE_REFUSED, capacity: CLOSE_LATER };
const CLOSE_MEANINGS = new Map<number, ErrorCode>([[CLOSE_PROTOCOL, "protocol"], [CLOSE_REFUSED, "unauthorized"], [CLOSE_LATER, "capacity"]]);

/** What a link has carried. */
export interface LinkCounters {
  sentFrames: number;
  sentBytes: number;
  receivedFrames: number;
  receivedBytes: number;
}

/** An authenticated connection. */
export class Link {
  /** Who is on the other side. */
  readonly identity: PeerIdentity;
  readonly counters: LinkCounters = { sentFrames: 0, sentBytes: 0, receivedFrames: 0, receivedBytes: 0 };
  /** Resolves with the reason when the link has ended, whichever side ended it. */
  readonly closed: Promise<LatentmeshError>;
  readonly #socket: Socket;
  #onFrame: ((frame: Frame) => void) | null = null;
  #onEncoded: (frame: Uint8Array<ArrayBuffer>) => boolean = () => false;
  /** Frames that came before anybody listened; not many. */
  #early: Frame[] = [];
  #ended: (reason: LatentmeshError) => void;
  #open = true;

  /** @param backlog frames that arrived with the handshake's last one */
  constructor(socket: Socket, identity: PeerIdentity, backlog: readonly Uint8Array<ArrayBuffer>[] = []) {
    this.identity = identity;
    this.#socket = socket;
    const { promise, resolve } = Promise.withResolvers<LatentmeshError>();
    this.closed = promise;
    this.#ended = resolve;
    socket.onmessage = ({ data }) => this.#receive(bytesOf(data));
    socket.onclose = ({ code, reason }) => this.#end(new LatentmeshError(CLOSE_MEANINGS.get(code) ?? "worker_lost", closeText(code, reason)));
    socket.onerror = (event) => event instanceof LatentmeshError && this.close(event);
    for (const frame of backlog) this.#receive(frame);
  }

  get open(): boolean {
    return this.#open;
  }

  /**
   * Sets who gets frames; an error thrown there closes the link.
   *
   * @param onEncoded sees frames before they are decoded, and says whether that is not needed
   */
  listen(onFrame: (frame: Frame) => void, onEncoded: (frame: Uint8Array<ArrayBuffer>) => boolean = () => false): void {
    this.#onFrame = onFrame;
    this.#onEncoded = onEncoded;
    const early = this.#early;
    this.#early = [];
    for (const frame of early) this.#deliver(frame);
  }

  /** Sends a frame made by `encodeFrame` or `ReusableFrame`; its bytes are copied before this returns. */
  sendFrame(frame: Uint8Array<ArrayBuffer>): void {
    if (!this.#open) return;
    this.counters.sentFrames++;
    this.counters.sentBytes += frame.byteLength;
    this.#socket.send(frame);
  }

  /** Encodes and sends. */
  send(message: object, payload?: ArrayBufferView<ArrayBuffer>): void {
    this.sendFrame(encodeFrame(message, payload));
  }

  /**
   * Ends the link; a reason means that the other side broke protocol, with `capacity` that it should come again later, and with `unauthorized` that it need not come
   * again.
   */
  close(reason?: LatentmeshError): void {
    if (!this.#open) return;
    if (reason === undefined) this.#socket.close(CLOSE_NORMAL);
    else this.#socket.close(CLOSE_CODES[reason.code] ?? CLOSE_PROTOCOL, shortReason(reason.message));
    this.#end(reason ?? new LatentmeshError("worker_lost", "The link was closed"));
  }

  #receive(bytes: Uint8Array<ArrayBuffer> | null): void {
    if (!this.#open) return;
    try {
      if (bytes === null) throw new LatentmeshError("protocol", "A text frame came where only binary ones are used");
      this.counters.receivedFrames++;
      this.counters.receivedBytes += bytes.byteLength;
      if (this.#onEncoded(bytes)) return;
      const frame = decodeFrame(bytes);
      if (this.#onFrame !== null) this.#deliver(frame);
      else if (this.#early.push(frame) > MOST_EARLY) throw new LatentmeshError("protocol", `${MOST_EARLY} frames came before they were expected`);
    } catch (error) {
      this.close(asProtocolError(error));
    }
  }

  #deliver(frame: Frame): void {
    try {
      this.#onFrame!(frame);
    } catch (error) {
      this.close(asProtocolError(error));
    }
  }

  #end(reason: LatentmeshError): void {
    if (!this.#open) return;
    this.#open = false;
    this.#ended(reason);
  }
}

/**
 * Authenticates as a client on an open socket.
 *
 * @param other who is expected on the other side; the secret proves it
 * @throws {LatentmeshError}
 */
export async function connectLink(
  socket: Socket,
  identity: PeerIdentity,
  secret: Uint8Array<ArrayBuffer>,
  other: string = "coordinator",
): Promise<Link> {
  const channel = new SocketChannel(socket);
  try {
    await greet(channel, identity, secret);
    return new Link(socket, { worker: other, role: identity.role }, channel.detach());
  } catch (error) {
    channel.detach();
    socket.close(CLOSE_NORMAL);
    throw error;
  }
}

/** Authenticates a client on a socket that was accepted. @throws {LatentmeshError} why it was turned away */
export async function acceptLink(socket: Socket, secretOf: (identity: PeerIdentity) => Uint8Array<ArrayBuffer> | null): Promise<Link> {
  const channel = new SocketChannel(socket);
  try {
    const identity = await authenticate(channel, secretOf);
    socket.trust?.();
    return new Link(socket, identity, channel.detach());
  } catch (error) {
    channel.detach();
    socket.close(CLOSE_PROTOCOL, shortReason(messageOf(error)));
    throw error;
  }
}

/** A socket as a queue of handshake frames. */
class SocketChannel implements HandshakeChannel {
  readonly #socket: Socket;
  readonly #frames: Uint8Array<ArrayBuffer>[] = [];
  #waiting: { resolve(frame: Uint8Array<ArrayBuffer>): void; reject(error: LatentmeshError): void } | null = null;
  #failure: LatentmeshError | null = null;
  readonly #timer: ReturnType<typeof setTimeout>;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    this.#timer = setTimeout(
      () => this.#fail(new LatentmeshError("timeout", `A handshake took longer than ${HANDSHAKE_TIMEOUT} ms`)),
      HANDSHAKE_TIMEOUT,
    );
    socket.onmessage = ({ data }) => {
      const bytes = bytesOf(data);
      if (bytes === null) return this.#fail(new LatentmeshError("protocol", "A peer sent text before it authenticated"));
      if (this.#waiting !== null) this.#waiting.resolve(bytes);
      else if (this.#frames.push(bytes) > MOST_EARLY_HANDSHAKE) this.#fail(new LatentmeshError("protocol", "A peer sent more than was asked for"));
      this.#waiting = null;
    };
    socket.onclose = ({ code, reason }) => this.#fail(new LatentmeshError("worker_lost", closeText(code, reason)));
    socket.onerror = (event) => event instanceof LatentmeshError && this.#fail(event);
  }

  send(frame: Uint8Array<ArrayBuffer>): void {
    this.#socket.send(frame);
  }

  async next(): Promise<Uint8Array<ArrayBuffer>> {
    const frame = this.#frames.shift() ?? await this.#wait();
    if (frame.byteLength <= MAX_HANDSHAKE_BYTES) return frame;
    // The socket has read it already; nothing of it is looked at.
    throw new LatentmeshError("protocol", `A peer sent ${frame.byteLength} bytes before it authenticated`);
  }

  /** Stops listening; what came early belongs to the link. */
  detach(): Uint8Array<ArrayBuffer>[] {
    clearTimeout(this.#timer);
    this.#socket.onmessage = null;
    this.#socket.onclose = null;
    return this.#frames;
  }

  #wait(): Promise<Uint8Array<ArrayBuffer>> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => this.#waiting = { resolve, reject });
  }

  #fail(error: LatentmeshError): void {
    this.#failure ??= error;
    this.#waiting?.reject(error);
    this.#waiting = null;
  }
}

function bytesOf(data: unknown): Uint8Array<ArrayBuffer> | null {
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  return data instanceof Uint8Array ? data as Uint8Array<ArrayBuffer> : null;
}

function asProtocolError(error: unknown): LatentmeshError {
  return error instanceof LatentmeshError ? error : new LatentmeshError("internal", messageOf(error), { cause: error });
}

function closeText(code: number, reason: string): string {
  return reason === "" ? `The other side closed the link (${code})` : reason;
}

/** A close frame holds 123 bytes of reason. */
function shortReason(message: string): string {
  const ascii = message.replace(/[^\x20-\x7e]/g, "?");
  return ascii.length <= 120 ? ascii : ascii.slice(0, 117) + "...";
}
