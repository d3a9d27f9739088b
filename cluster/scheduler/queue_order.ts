/**
 * Places in line: by arrival; but the places of one client are taken by its sequences in the order of their priorities, so that nobody gains on others.
 *
 * @module
 */
import type { Sequence } from "./state.ts";

/** Whether a client's sequence comes before another one of the same client. */
export function comesFirst(one: Sequence, other: Sequence): boolean {
  return one.priority === other.priority ? one.order < other.order : one.priority < other.priority;
}

/** The place of each sequence: smaller ones come first. */
export function placesInLine(sequences: Iterable<Sequence>): ReadonlyMap<Sequence, number> {
  const places = new Map<Sequence, number>();
  for (const own of Map.groupBy(sequences, ({ client }) => client).values()) {
    const orders = own.map(({ order }) => order).sort((a, b) => a - b);
    own.sort((a, b) => comesFirst(a, b) ? -1 : 1).forEach((sequence, i) => places.set(sequence, orders[i]));
  }
  return places;
}
