/**
 * Bodies of requests, each read into one buffer that grows as it must and no further: nothing is kept of how they came in pieces.
 *
 * @module
 */
import { HttpSyntaxError } from "../../core/http/request_head.ts";
import { Budget } from "./budget.ts";
import { HttpError } from "../api/errors.ts";

/** What bodies may take. */
export interface BodyLimits {
  readonly maxBytes: number;
  readonly budget: Budget;
  /** What allows more; default: the setting of a server. */
  readonly remedy?: string;
}

/** Of a body by default; more where the context is so long that prompts need it. */
const LEAST_BODY_BYTES = 4 << 20;
/** A token is some four bytes of text, or up to eight as a number; escaped, a character alone takes six. */
const BODY_BYTES_PER_TOKEN = 32;

/** Bytes that a body may have by default where contexts have so many tokens. */
export function bodyBytesFor(maxContext: number): number {
  return Math.max(LEAST_BODY_BYTES, BODY_BYTES_PER_TOKEN * maxContext);
}

/** Bodies as large as they may be that are read at a time: of one client, and in all. */
const BODIES_PER_CLIENT = 16;
const BODIES = 32;

/** Limits of a server. @param maxBytes of one body */
export function bodyLimits(maxBytes: number): BodyLimits {
  return { maxBytes, budget: new Budget({ total: BODIES * maxBytes, perClient: BODIES_PER_CLIENT * maxBytes }) };
}

/** Bytes that a request counts for at least: it is more than its body. */
const LEAST = 16 << 10;

/** A body in memory; dispose to give its bytes back to the budget. */
export class HeldBody implements Disposable {
  readonly #budget: Budget;
  readonly #client: string;
  #buffer: Uint8Array<ArrayBuffer>;
  #taken = 0;
  #filled = 0;

  private constructor(budget: Budget, client: string, capacity: number) {
    this.#budget = budget;
    this.#client = client;
    this.#take(Math.max(LEAST, capacity));
    this.#buffer = new Uint8Array(capacity);
  }

  /** Reads a request's body. @throws {HttpError} 413 if it is too large, 415 if it is compressed, 429 if too much is being read already */
  static async read(request: Request, client: string, limits: BodyLimits): Promise<HeldBody> {
    const { maxBytes, budget } = limits;
    const encoding = request.headers.get("content-encoding")?.toLowerCase() ?? "identity";
    if (encoding !== "identity") {
      throw new HttpError(415, `Bodies are not taken in the content encoding "${encoding.slice(0, 64)}"; send this one as it is`, {
        code: "unsupported_encoding",
      });
    }
    const announced = Number(request.headers.get("content-length") ?? LEAST);
    if (announced > maxBytes) throw tooLarge(limits);
    const body = new HeldBody(budget, client, announced);
    try {
      for await (const piece of request.body ?? []) body.#add(piece, limits);
      return body;
    } catch (error) {
      body[Symbol.dispose]();
      if (error instanceof HttpSyntaxError) throw new HttpError(error.status as 400, error.message, { code: "invalid_http" });
      throw error;
    }
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#buffer.subarray(0, this.#filled);
  }

  [Symbol.dispose](): void {
    if (this.#taken > 0) this.#budget.give(this.#client, this.#taken);
    this.#taken = 0;
  }

  #add(piece: Uint8Array, limits: BodyLimits): void {
    const { maxBytes } = limits;
    const needed = this.#filled + piece.length;
    if (needed > maxBytes) throw tooLarge(limits);
    if (needed > this.#buffer.length) {
      const capacity = Math.min(maxBytes, Math.max(needed, 2 * this.#buffer.length));
      this.#take(capacity - this.#buffer.length);
      const grown = new Uint8Array(capacity);
      grown.set(this.bytes);
      this.#buffer = grown;
    }
    this.#buffer.set(piece, this.#filled);
    this.#filled = needed;
  }

  #take(bytes: number): void {
    this.#budget.take(this.#client, bytes);
    this.#taken += bytes;
  }
}

function tooLarge({ maxBytes, remedy = "server.maxBodyBytes allows more" }: BodyLimits): HttpError {
  return new HttpError(413, `The request body exceeds ${maxBytes} bytes; ${remedy}`, { code: "request_too_large" });
}
