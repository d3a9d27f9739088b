/**
 * One connection: requests, one after the other, as Fetch's, and the answers to them.
 *
 * @module
 */
import { bodyDecoder } from "../../../core/http/body_decoder.ts";
import { endOfHead, HttpSyntaxError, MAX_HEAD_BYTES, parseRequestHead, type RequestHead } from "../../../core/http/request_head.ts";
import { type Connection, ConnectionReader, writeAll } from "../../../core/net/connection.ts";
import { messageOf } from "../../../core/errors.ts";
import type { ConnectionSlot } from "../../../core/net/connection_limiter.ts";
import { HttpError } from "../../api/errors.ts";
import { type ResponseForm, ResponseWriter } from "./response_writer.ts";
import type { HttpTimeouts } from "./timeouts.ts";

/** Answers a request. Its signal aborts when the client goes away. */
export type HttpHandler = (request: Request) => Response | Promise<Response>;

/** Bytes that are read of a request which was answered early. */
const MOST_LINGERING = 8 << 20;

const CONTINUE = new TextEncoder().encode("HTTP/1.1 100 Continue\r\n\r\n");

/** A connection that is being served. */
export class HttpConnection {
  readonly #connection: Connection;
  readonly #reader: ConnectionReader;
  readonly #slot: ConnectionSlot;
  readonly #handler: HttpHandler;
  readonly #timeouts: HttpTimeouts;
  readonly #closing: AbortSignal;

  /** @param options.closing aborted when no further request is wanted */
  constructor(
    connection: Connection,
    slot: ConnectionSlot,
    handler: HttpHandler,
    { timeouts, closing }: { readonly timeouts: HttpTimeouts; readonly closing: AbortSignal },
  ) {
    this.#connection = connection;
    this.#reader = new ConnectionReader(connection);
    this.#slot = slot;
    this.#handler = handler;
    this.#timeouts = timeouts;
    this.#closing = closing;
  }

  /** Serves requests until the connection ends; does not close it. */
  async serve(): Promise<void> {
    try {
      this.#slot.rest(performance.now() + this.#timeouts.head);
      while (await this.#serveOne()) this.#slot.rest(performance.now() + this.#timeouts.idle);
    } catch {
      // The connection broke, or its time was up: nobody is there to be told.
    }
  }

  /** @returns whether another request may follow */
  async #serveOne(): Promise<boolean> {
    let head: RequestHead | null;
    try {
      head = await this.#readHead();
    } catch (error) {
      if (error instanceof HttpSyntaxError) await this.#refuse(error);
      return false;
    }
    if (head === null) return false;
    const url = URL.parse(`http://${head.host === "" ? "localhost" : head.host}${head.target}`);
    if (url === null) {
      await this.#refuse(new HttpSyntaxError(400, "Cannot read the request: its host and target are no address"));
      return false;
    }
    this.#slot.work(performance.now() + this.#timeouts.body);
    const exchange = new Exchange(head, this.#connection, this.#reader, this.#slot);
    const response = await this.#answer(exchange, url);
    const keep = head.keepAlive && exchange.bodyRead && !exchange.left && !this.#closing.aborted;
    const writer = this.#writer({ head: head.method === "HEAD", minor: head.minor, keepAlive: keep });
    try {
      await writer.write(response);
    } finally {
      exchange.end();
    }
    if (!exchange.bodyRead) await this.#linger();
    // The server may have begun to end while it was written, and was not idle then.
    return keep && writer.delimited && !this.#closing.aborted;
  }

  async #answer(exchange: Exchange, url: URL): Promise<Response> {
    let request: Request;
    try {
      request = exchange.request(url);
    } catch {
      // Fetch has no requests of such methods.
      return errorResponse(new HttpError(405, "This method is not supported", { code: "invalid_http" }));
    }
    try {
      return await this.#handler(request);
    } catch (error) {
      return errorResponse(new HttpError(500, `Internal error: ${messageOf(error)}`, { code: "internal" }));
    }
  }

  #writer(form: ResponseForm): ResponseWriter {
    return new ResponseWriter(this.#connection, this.#slot, { ...form, timeout: this.#timeouts.write });
  }

  /** null where the connection ends instead. */
  async #readHead(): Promise<RequestHead | null> {
    let searched = 0;
    let begun = false;
    while (true) {
      const { bytes } = this.#reader;
      if (bytes.length > 0 && !begun) {
        begun = true;
        this.#slot.rest(performance.now() + this.#timeouts.head);
      }
      // Empty lines in front of a request are overlooked (RFC 9112, 2.2).
      const blank = searched === 0 ? emptyLines(bytes) : 0;
      if (blank > 0) {
        this.#reader.take(blank);
        continue;
      }
      const end = endOfHead(bytes, searched);
      if (end > MAX_HEAD_BYTES || (end < 0 && bytes.length >= MAX_HEAD_BYTES)) throw new HttpSyntaxError(431, "The request's head is too long");
      if (end > 0) {
        const head = parseRequestHead(bytes.slice(0, end));
        this.#reader.take(end);
        return head;
      }
      searched = Math.max(0, bytes.length - 3);
      if (!await this.#reader.fill()) return null;
    }
  }

  async #refuse({ status, message }: HttpSyntaxError): Promise<void> {
    const error = new HttpError(status as 400, message, { code: "invalid_http" });
    await this.#writer({ head: false, minor: 1, keepAlive: false }).write(errorResponse(error));
    await this.#linger();
  }

  /** Reads what is left for a while: closing at once would take the answer away from a client that is still sending. */
  async #linger(): Promise<void> {
    this.#slot.rest(performance.now() + this.#timeouts.linger);
    let read = 0;
    while (read < MOST_LINGERING) {
      read += this.#reader.bytes.length;
      this.#reader.take(this.#reader.bytes.length);
      if (!await this.#reader.fill()) return;
    }
  }
}

function errorResponse({ status, body }: HttpError): Response {
  return Response.json(body, { status });
}

function emptyLines(bytes: Uint8Array): number {
  let count = 0;
  while (bytes[count] === 13 && bytes[count + 1] === 10) count += 2;
  return count;
}

/** A request while it is answered. */
class Exchange {
  readonly #head: RequestHead;
  readonly #connection: Connection;
  readonly #reader: ConnectionReader;
  readonly #slot: ConnectionSlot;
  readonly #decoder: ReturnType<typeof bodyDecoder>;
  readonly #gone = new AbortController();
  #ended = false;

  constructor(head: RequestHead, connection: Connection, reader: ConnectionReader, slot: ConnectionSlot) {
    this.#head = head;
    this.#connection = connection;
    this.#reader = reader;
    this.#slot = slot;
    this.#decoder = bodyDecoder(head.body);
  }

  /** Whether all of the request has been read. */
  get bodyRead(): boolean {
    return this.#decoder.done;
  }

  /** Whether the client is gone, or taken for it. */
  get left(): boolean {
    return this.#gone.signal.aborted;
  }

  request(url: URL): Request {
    const { method, fields, body } = this.#head;
    const headers = new Headers(fields as [string, string][]);
    const { signal } = this.#gone;
    if (this.#decoder.done) this.#bodyEnded();
    if (body.kind === "none" || method === "GET" || method === "HEAD") return new Request(url, { method, headers, signal });
    return new Request(url, { method, headers, signal, body: this.#body() });
  }

  /** The answer has been written, or cannot be. */
  end(): void {
    this.#ended = true;
  }

  #body(): ReadableStream<Uint8Array<ArrayBuffer>> {
    let invited = !this.#head.expectsContinue;
    return new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull: async (controller) => {
        try {
          if (!invited) await writeAll(this.#connection, CONTINUE);
          invited = true;
          const data = await this.#readSome();
          if (data.length > 0) controller.enqueue(data);
          if (this.#decoder.done) controller.close();
        } catch (error) {
          controller.error(error);
        }
      },
    }, { highWaterMark: 0 });
  }

  /** The next bytes of the body; none at its end. */
  async #readSome(): Promise<Uint8Array<ArrayBuffer>> {
    while (!this.#decoder.done) {
      if (this.#reader.bytes.length === 0 && !await this.#reader.fill()) {
        this.#gone.abort();
        throw new HttpSyntaxError(400, "The connection ended before the body did");
      }
      const { data, used } = this.#decoder.push(this.#reader.bytes);
      this.#reader.take(used);
      if (this.#decoder.done) this.#bodyEnded();
      if (data.length > 0) return data;
    }
    return new Uint8Array();
  }

  /** From here on, only computing takes time. */
  #bodyEnded(): void {
    this.#slot.work();
    void this.#watch();
  }

  /**
   * Reads on while the answer is computed: only so is it found out that the client has gone. What comes belongs to the next request. Of a client that sends more than
   * can be kept of it that could not be found out, so it is taken for gone.
   */
  async #watch(): Promise<void> {
    try {
      while (!this.#ended) if (this.#reader.full || !await this.#reader.fill()) return this.#leave();
    } catch {
      this.#leave();
    }
  }

  #leave(): void {
    if (!this.#ended) this.#gone.abort();
  }
}
