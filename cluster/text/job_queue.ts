/**
 * Whose turn it is: clients take turns, and no client has all processes. Decides and does nothing.
 *
 * @module
 */

/** Jobs of clients. */
export class JobQueue<J> {
  readonly #mostPerClient: number;
  /** Jobs that wait; whose turn is next comes first. */
  readonly #waiting = new Map<string, J[]>();
  readonly #running = new Map<string, number>();

  /** @param mostPerClient jobs of one client that may run */
  constructor(mostPerClient: number) {
    this.#mostPerClient = mostPerClient;
  }

  add(client: string, job: J): void {
    const jobs = this.#waiting.get(client);
    if (jobs === undefined) this.#waiting.set(client, [job]);
    else jobs.push(job);
  }

  /** Takes back a job that waits; false if it does not wait any more. */
  remove(client: string, job: J): boolean {
    const jobs = this.#waiting.get(client);
    const at = jobs?.indexOf(job) ?? -1;
    if (at < 0) return false;
    jobs!.splice(at, 1);
    if (jobs!.length === 0) this.#waiting.delete(client);
    return true;
  }

  /** The next job that may run now; {@link done} must follow. */
  next(): { readonly client: string; readonly job: J } | null {
    for (const [client, jobs] of this.#waiting) {
      const running = this.#running.get(client) ?? 0;
      if (running >= this.#mostPerClient) continue;
      const job = jobs.shift()!;
      // Deleted and set again, the client is the last.
      this.#waiting.delete(client);
      if (jobs.length > 0) this.#waiting.set(client, jobs);
      this.#running.set(client, running + 1);
      return { client, job };
    }
    return null;
  }

  /** A job of a client has ended. */
  done(client: string): void {
    const running = this.#running.get(client)! - 1;
    if (running === 0) this.#running.delete(client);
    else this.#running.set(client, running);
  }

  /** Takes out all that wait. */
  takeAll(): J[] {
    const all = [...this.#waiting.values()].flat();
    this.#waiting.clear();
    return all;
  }
}
