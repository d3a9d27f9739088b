/**
 * Where a model stands among the ranks that share it.
 *
 * @module
 */
import type { PartitionOptions } from "./partition.ts";

/** One rank's place. */
export interface GroupPlace {
  readonly rank: number;
  /** 1: it is alone, and there is nothing to sum. */
  readonly ranks: number;
  /** Precision of what ranks send each other. */
  readonly wire: "f32" | "f16";
  /** Whether every rank has the feed-forward blocks whole, so that only attention is summed. */
  readonly wholeFeedForward: boolean;
}

/** Of a model that nobody shares. */
export const ALONE: GroupPlace = { rank: 0, ranks: 1, wire: "f32", wholeFeedForward: false };

/** The place of a rank where prompts are computed that are generated from elsewhere; see `promptShapes` in partition.ts. */
export function promptPlace(place: GroupPlace): GroupPlace {
  return place.wholeFeedForward ? ALONE : place;
}

/** The place of a rank of a unit. @param cut how the unit shares the model */
export function groupPlace({ rank, cut, wire }: { readonly rank: number; readonly cut: PartitionOptions; readonly wire: "f32" | "f16" }): GroupPlace {
  return { rank, ranks: cut.ranks, wire, wholeFeedForward: cut.feedForward === "replicated" };
}
