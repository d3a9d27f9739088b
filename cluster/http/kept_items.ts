/**
 * Items of answers that clients may refer to by their names for a while, instead of sending them back. Nothing else of a response is kept.
 *
 * @module
 */
import { HttpError, shortened } from "../api/errors.ts";

/** Bytes of all items, and of one client's; beyond, the oldest go. */
const MOST_BYTES = 64 << 20;
const MOST_OF_CLIENT = 16 << 20;

/** An item's JSON, and its size. */
interface KeptItem {
  readonly json: string;
  readonly bytes: number;
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
}

/** Keeps items, each client's by itself. */
export class KeptItems {
  readonly #mostBytes: number;
  readonly #mostOfClient: number;
  /** The client that was heard of longest ago first. */
  readonly #shelves = new Map<string, Shelf>();
  #bytes = 0;

  constructor({ mostBytes = MOST_BYTES, mostOfClient = MOST_OF_CLIENT }: KeptItemsOptions = {}) {
    this.#mostBytes = mostBytes;
    this.#mostOfClient = mostOfClient;
  }

  /** Keeps what was answered to a client. */
  keep(client: string, items: readonly { readonly id: string }[]): void {
    const shelf = this.#shelves.get(client) ?? { items: new Map(), bytes: 0 };
    this.#shelves.delete(client);
    this.#shelves.set(client, shelf);
    for (const item of items) {
      const json = JSON.stringify(item);
      const bytes = 2 * (json.length + item.id.length);
      shelf.items.set(item.id, { json, bytes });
      shelf.bytes += bytes;
      this.#bytes += bytes;
    }
    while (shelf.bytes > this.#mostOfClient) this.#drop(client, shelf);
    while (this.#bytes > this.#mostBytes) this.#drop(...this.#shelves.entries().next().value!);
  }

  /** The JSON of items that a client refers to. @throws {HttpError} 404 if one is not kept, or not any more */
  find(client: string, ids: readonly string[]): Record<string, string> {
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

  #drop(client: string, shelf: Shelf): void {
    const [id, { bytes }] = shelf.items.entries().next().value!;
    shelf.items.delete(id);
    shelf.bytes -= bytes;
    this.#bytes -= bytes;
    if (shelf.items.size === 0) this.#shelves.delete(client);
  }
}
