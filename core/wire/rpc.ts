/**
 * Requests and replies over a link: the coordinator asks, the worker answers.
 *
 * @module
 */
import { type ErrorCode, LatentmeshError, messageOf } from "../errors.ts";
import { SilenceWatch } from "../silence.ts";
import type { Frame } from "./codec.ts";
import type { Link } from "./link.ts";
import { type Notice, noticeSchema, parseMessage, type Reply, replySchema, type Request, type RequestOf, requestSchema } from "./messages.ts";
import { RepeatedReceiving, RepeatedSending } from "./repetition.ts";

/** A reply with what travelled behind it. */
export interface ReplyFrame<K extends Reply["kind"]> {
  readonly reply: Extract<Reply, { kind: K }>;
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** A unit in one of its epochs. */
export interface BlamedUnit {
  readonly name: string;
  readonly epoch: number;
}

/** A failure of a worker; `silent` names the worker that others waited for. */
export class WorkerError extends LatentmeshError {
  override readonly name = "WorkerError";
  /** Worker that did not answer the one which failed. */
  readonly silent: string | null;
  /** The unit that is to blame, where it is another than that of the worker which failed. */
  readonly unit: BlamedUnit | null;

  /** An error that a worker reported. */
  constructor(code: ErrorCode, message: string, silent: string | null, unit: BlamedUnit | null = null) {
    super(code, message);
    this.silent = silent;
    this.unit = unit;
  }
}

interface Pending {
  resolve(frame: { readonly reply: Reply; readonly payload: Uint8Array<ArrayBuffer> }): void;
  reject(error: LatentmeshError): void;
  /** Told that the worker is still at it. */
  heard(): void;
}

/** The asking side of a link. */
export class RpcClient {
  readonly link: Link;
  readonly #pending = new Map<number, Pending>();
  readonly #silence = new SilenceWatch();
  readonly #requests = new RepeatedSending();
  readonly #replies = new RepeatedReceiving<Reply>();
  #next = 1;

  /** @param onNotice what the worker says without being asked */
  constructor(link: Link, onNotice: (notice: Notice) => void) {
    this.link = link;
    link.listen((frame) => {
      if (isReply(frame.message)) this.#take(frame);
      else onNotice(parseMessage(noticeSchema, frame.message));
    }, (frame) => {
      const known = this.#replies.decode(frame);
      if (known !== null) this.#settle(known.message, known.payload);
      return known !== null;
    });
    link.closed.then((reason) => {
      this.#silence.stop();
      for (const { reject } of this.#pending.values()) reject(this.#gone(reason));
      this.#pending.clear();
    });
  }

  /**
   * Asks and waits for the reply.
   *
   * @param expected kind of the reply
   * @param options.deadlineMs of silence, not counting time in which this process could not have heard the answer; a worker that says that it is still at it has as
   *   long again
   * @throws {LatentmeshError} what the worker reports, `worker_lost` if the link ends, `timeout` after `deadlineMs`, `internal` if it cannot be sent
   */
  async call<K extends Request["kind"], R extends Reply["kind"]>(
    kind: K,
    request: RequestOf<K>,
    expected: R,
    options: { readonly payload?: ArrayBufferView<ArrayBuffer>; readonly deadlineMs?: number; readonly onId?: (id: number) => void } = {},
  ): Promise<ReplyFrame<R>> {
    if (!this.link.open) throw this.#gone(await this.link.closed);
    const id = this.#next++;
    options.onId?.(id);
    const { promise, resolve, reject } = Promise.withResolvers<{ readonly reply: Reply; readonly payload: Uint8Array<ArrayBuffer> }>();
    const { deadlineMs } = options;
    const wait = deadlineMs === undefined ? null : this.#silence.begin(deadlineMs, () => reject(this.#silent(kind, deadlineMs)));
    this.#pending.set(id, { resolve, reject, heard: () => wait?.heard() });
    try {
      // What cannot be sent has failed as much as what is not answered.
      this.link.sendFrame(this.#requests.encode({ ...request, kind, id }, options.payload));
      const { reply, payload } = await promise;
      if (reply.kind === "failed") throw new WorkerError(reply.code as ErrorCode, reply.message, reply.silent, reply.unit);
      if (reply.kind !== expected) {
        throw new LatentmeshError("protocol", `Worker ${this.link.identity.worker} answered "${kind}" with "${reply.kind}"`);
      }
      return { reply: reply as Extract<Reply, { kind: R }>, payload };
    } finally {
      if (wait !== null) this.#silence.end(wait);
      this.#pending.delete(id);
    }
  }

  #silent(kind: string, deadlineMs: number): WorkerError {
    const { worker } = this.link.identity;
    return new WorkerError("timeout", `Worker ${worker} did not answer "${kind}" within ${deadlineMs} ms`, worker);
  }

  #gone(reason: LatentmeshError): LatentmeshError {
    return new LatentmeshError(reason.code, `Worker ${this.link.identity.worker} is gone: ${reason.message}`);
  }

  #take({ message, payload }: Frame): void {
    const reply = parseMessage(replySchema, message);
    this.#replies.note(message, reply);
    this.#settle(reply, payload);
  }

  #settle(reply: Reply, payload: Uint8Array<ArrayBuffer>): void {
    // A reply that nobody waits for any more came after its deadline.
    const pending = this.#pending.get(reply.id);
    if (reply.kind === "working") pending?.heard();
    else pending?.resolve({ reply, payload });
  }
}

const REPLY_KINDS = new Set<unknown>(replySchema.options.map((option) => option.shape.kind.value));

function isReply(message: unknown): boolean {
  return typeof message === "object" && message !== null && "id" in message && REPLY_KINDS.has((message as { kind?: unknown }).kind);
}

/** What answering a request gives. */
export type Answer = { readonly [K in Reply["kind"]]: Omit<Extract<Reply, { kind: K }>, "id"> }[Reply["kind"]] & {
  readonly payload?: ArrayBufferView<ArrayBuffer>;
};

/** Tells who asked that the answer has come nearer. */
export type OnProgress = () => void;

/** The answering side: calls `answer` for every request and sends what it gives, or why it failed. */
export function serveRequests(
  link: Link,
  answer: (request: Request, payload: Uint8Array<ArrayBuffer>, onProgress: OnProgress) => Promise<Answer>,
): void {
  const requests = new RepeatedReceiving<Request>();
  const replies = new RepeatedSending();
  const take = (request: Request, payload: Uint8Array<ArrayBuffer>) => {
    const { id } = request;
    // An answer that cannot be sent is a failure like any other.
    answer(request, payload, () => link.send({ kind: "working", id })).then(({ payload, ...reply }) =>
      link.sendFrame(replies.encode({ ...reply, id }, payload))
    ).catch((error) => {
      const code = error instanceof LatentmeshError ? error.code : "internal";
      const { silent = null, unit = null } = error instanceof WorkerError ? error : {};
      link.send({ kind: "failed", id, code, message: messageOf(error).slice(0, 4096), silent, unit });
    });
  };
  link.listen(({ message, payload }) => {
    const request = parseMessage(requestSchema, message);
    requests.note(message, request);
    take(request, payload);
  }, (frame) => {
    const known = requests.decode(frame);
    if (known !== null) take(known.message, known.payload);
    return known !== null;
  });
}
