/**
 * Items of answers that clients may refer to by their names for a while, instead of sending them back. Nothing else of a response is kept.
 *
 * @module
 */
import { HttpError, shortened } from "../api/errors.ts";

/** Bytes of all items, and of one client's; beyond, the oldest go. */
const MOST_BYTES = 64 << 20;
const MOST_OF_CLIENT = 16 << 20;

/** Milliseconds after which they go, too: conversations go on before. */
const LONGEST = 3_600_000;

/** What an item takes besides its texts. */
const OVERHEAD = 128;

/** An item's JSON, its size, and when it was kept. */
interface KeptItem {
  readonly json: string;
  readonly bytes: number;
  readonly at: number;
}

/** One client's items, the oldest first. */
interface Shelf {
  readonly items: Map<string, KeptItem>;
  bytes: number;
}

/** Options of {@link KeptItems}. */
export interface KeptItemsOptions {
  readonly mostBytes?: number;
  readonly mostOfClient?: number;
  /** Milliseconds. */
  readonly longest?: number;
  /** The time, in milliseconds. */
  readonly now?: () => number;
}

/** Keeps items, each client's by itself: one client's key finds nothing of another's. */
export class KeptItems {
  readonly #mostBytes: number;
  readonly #mostOfClient: number;
  readonly #longest: number;
  readonly #now: () => number;
  /** The client that was heard of longest ago first. */
  readonly #shelves = new Map<string, Shelf>();
  #bytes = 0;

  constructor({ mostBytes = MOST_BYTES, mostOfClient = MOST_OF_CLIENT, longest = LONGEST, now = () => performance.now() }: KeptItemsOptions = {}) {
    this.#mostBytes = mostBytes;
    this.#mostOfClient = mostOfClient;
    this.#longest = longest;
    this.#now = now;
  }

  /** Bytes of all that is kept. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Keeps what was answered to a client. */
  keep(client: string, items: readonly { readonly id: string }[]): void {
    this.#forgetOld(client);
    const shelf = this.#shelves.get(client) ?? { items: new Map(), bytes: 0 };
    const at = this.#now();
    for (const item of items) {
      const json = JSON.stringify(item);
      const bytes = 2 * (json.length + item.id.length) + OVERHEAD;
      // It would push out everything else, and then itself.
      if (bytes > Math.min(this.#mostOfClient, this.#mostBytes)) continue;
      this.#remove(client, shelf, item.id);
      this.#shelves.delete(client);
      this.#shelves.set(client, shelf);
      shelf.items.set(item.id, { json, bytes, at });
      shelf.bytes += bytes;
      this.#bytes += bytes;
    }
    while (shelf.bytes > this.#mostOfClient) this.#drop(client, shelf);
    while (this.#bytes > this.#mostBytes) this.#drop(...this.#shelves.entries().next().value!);
  }

  /** The JSON of items that a client refers to. @throws {HttpError} 404 if one is not kept, or not any more */
  find(client: string, ids: readonly string[]): Record<string, string> {
    this.#forgetOld(client);
    const shelf = this.#shelves.get(client);
    return Object.fromEntries(ids.map((id) => {
      const item = shelf?.items.get(id);
      if (item !== undefined) return [id, item.json];
      throw new HttpError(404, `There is no item "${shortened(id)}" any more; send the items themselves (with "store": false, AI SDKs do)`, {
        param: "input",
        code: "item_not_found",
      });
    }));
  }

  /** Drops what a client has kept for too long, and all of those clients that have not been heard of since. */
  #forgetOld(client: string): void {
    const since = this.#now() - this.#longest;
    const isOld = ({ items }: Shelf) => items.values().next().value!.at < since;
    const own = this.#shelves.get(client);
    while (own !== undefined && own.items.size > 0 && isOld(own)) this.#drop(client, own);
    for (const [other, shelf] of this.#shelves) {
      while (shelf.items.size > 0 && isOld(shelf)) this.#drop(other, shelf);
      // Whoever comes behind was heard of later.
      if (shelf.items.size > 0) return;
    }
  }

  #drop(client: string, shelf: Shelf): void {
    this.#remove(client, shelf, shelf.items.keys().next().value!);
  }

  #remove(client: string, shelf: Shelf, id: string): void {
    const item = shelf.items.get(id);
    if (item === undefined) return;
    shelf.items.delete(id);
    shelf.bytes -= item.bytes;
    this.#bytes -= item.bytes;
    if (shelf.items.size === 0) this.#shelves.delete(client);
  }
}
