/**
 * Who has sequences that have not ended.
 *
 * @module
 */

/** Sequences of each client. */
export class ActiveClients {
  readonly #sequences = new Map<string, number>();

  /** Of all clients. */
  get sequences(): number {
    return this.#sequences.values().reduce((sum, count) => sum + count, 0);
  }

  has(client: string): boolean {
    return this.#sequences.has(client);
  }

  /** One more. */
  add(client: string): void {
    this.#sequences.set(client, (this.#sequences.get(client) ?? 0) + 1);
  }

  /** One has ended. @returns whether it was the client's last */
  remove(client: string): boolean {
    const left = this.#sequences.get(client)! - 1;
    if (left > 0) this.#sequences.set(client, left);
    else this.#sequences.delete(client);
    return left === 0;
  }
}
