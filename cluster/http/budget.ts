/**
 * Bytes of requests that are being taken in: so many in all, and so many of one client.
 *
 * @module
 */
import { HttpError } from "../api/errors.ts";

/** Most bytes. */
export interface BudgetLimits {
  readonly total: number;
  readonly perClient: number;
}

/** Counts bytes that are held. */
export class Budget {
  readonly #limits: BudgetLimits;
  readonly #clients = new Map<string, number>();
  #total = 0;

  constructor(limits: BudgetLimits) {
    this.#limits = limits;
  }

  /** Bytes that are held. */
  get held(): number {
    return this.#total;
  }

  /** Takes bytes; {@link give} must follow. @throws {HttpError} 429 if there are too many */
  take(client: string, bytes: number): void {
    const { total, perClient } = this.#limits;
    const own = (this.#clients.get(client) ?? 0) + bytes;
    if (own > perClient) throw tooMuch(`Requests of this client that are being read have ${own} bytes together; the most are ${perClient}`);
    if (this.#total + bytes > total) throw tooMuch(`All requests that are being read have ${this.#total + bytes} bytes; the most are ${total}`);
    this.#clients.set(client, own);
    this.#total += bytes;
  }

  give(client: string, bytes: number): void {
    const own = this.#clients.get(client)! - bytes;
    if (own === 0) this.#clients.delete(client);
    else this.#clients.set(client, own);
    this.#total -= bytes;
  }
}

function tooMuch(problem: string): HttpError {
  return new HttpError(429, `${problem} (server.maxBodyBytes decides)`, { code: "rate_limit_exceeded", retryAfter: 1 });
}
