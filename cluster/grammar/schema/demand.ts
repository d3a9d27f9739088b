/**
 * What one value has to fit: all of several schemas.
 *
 * @module
 */
import type { SchemaNode } from "./document.ts";

/** A set of schemas that hold together; equal sets are the same object. */
export interface Demand {
  readonly nodes: readonly SchemaNode[];
  readonly id: number;
}

/** Keeps every set once. */
export class Demands {
  readonly #known = new Map<string, Demand>();

  /** All of these. */
  of(nodes: readonly SchemaNode[]): Demand {
    const distinct = [...new Set(nodes.filter(({ schema }) => schema !== true))].sort((a, b) => a.id - b.id);
    const key = distinct.map(({ id }) => id).join();
    let demand = this.#known.get(key);
    if (demand === undefined) this.#known.set(key, demand = { nodes: distinct, id: this.#known.size });
    return demand;
  }

  get size(): number {
    return this.#known.size;
  }
}
