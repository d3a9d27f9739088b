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
  static async read(request: Request, client: string, { maxBytes, budget }: BodyLimits): Promise<HeldBody> {
    const encoding = request.headers.get("content-encoding")?.toLowerCase() ?? "identity";
    if (encoding !== "identity") {
      throw new HttpError(415, `Bodies are not taken in the content encoding "${encoding.slice(0, 64)}"; send this one as it is`, {
        code: "unsupported_encoding",
      });
    }
    const announced = Number(request.headers.get("content-length") ?? LEAST);
    if (announced > maxBytes) throw tooLarge(maxBytes);
    const body = new HeldBody(budget, client, announced);
    try {
      for await (const piece of request.body ?? []) body.#add(piece, maxBytes);
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

  #add(piece: Uint8Array, maxBytes: number): void {
    const needed = this.#filled + piece.length;
    if (needed > maxBytes) throw tooLarge(maxBytes);
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

function tooLarge(maxBytes: number): HttpError {
  return new HttpError(413, `The request body exceeds ${maxBytes} bytes; server.maxBodyBytes allows more`, { code: "request_too_large" });
}
