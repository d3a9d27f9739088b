/**
 * What items an array may have, place by place.
 *
 * @module
 */
import { canonical, type Json } from "../text/json_text.ts";
import type { Demand } from "./demand.ts";
import type { SchemaNode } from "./document.ts";
import type { Place } from "./place.ts";
import type { ArrayRules } from "./shape.ts";
import { UnsupportedSchema } from "./unsupported_schema.ts";

/** What an item has to fit, and what it has to fit if it counts for `contains`. */
export interface ItemDemand {
  readonly any: Demand;
  readonly counted: Demand | null;
}

export interface ArrayPlan {
  readonly first: readonly ItemDemand[];
  readonly rest: ItemDemand;
  readonly min: number;
  readonly max: number;
  /** How many items have to count. */
  readonly counted: number;
  /** All values that items may have, where they must differ; null: they need not. */
  readonly distinct: readonly Json[] | null;
}

/** Values among which items are told apart. */
const MOST_DISTINCT = 256;

/**
 * @param demand what fits all of several schemas
 * @param valuesOf all values that fit; null if they cannot be listed
 * @throws {UnsupportedSchema}
 */
export function planArray(
  { layers, min, max, unique, contains }: ArrayRules,
  demand: (nodes: readonly SchemaNode[]) => Demand,
  valuesOf: (demand: Demand) => readonly Json[] | null,
): ArrayPlan {
  if (contains.length > 1) throw new UnsupportedSchema("contains", contains[1].place, "is not supported beside another one");
  const nodesAt = (place: number) => layers.flatMap(({ first, rest }) => place < first.length ? [first[place]] : rest === null ? [] : [rest]);
  const item = (place: number): ItemDemand => {
    const nodes = nodesAt(place);
    return { any: demand(nodes), counted: contains.length === 0 ? null : demand([...nodes, contains[0].node]) };
  };
  const listed = Math.max(0, ...layers.map(({ first }) => first.length));
  const first = Array.from({ length: listed }, (_, place) => item(place));
  const plan = { first, rest: item(listed), min, max, counted: contains[0]?.min ?? 0 };
  return { ...plan, distinct: unique === null || max <= 1 ? null : distinctValues(plan, unique, valuesOf) };
}

function distinctValues(plan: Omit<ArrayPlan, "distinct">, place: Place, valuesOf: (demand: Demand) => readonly Json[] | null): readonly Json[] {
  const refused = (why: string) => new UnsupportedSchema("uniqueItems", place, why);
  if (plan.counted > 0 || plan.first.length > 0) throw refused(`is not supported beside "contains" or items by place`);
  const values = valuesOf(plan.rest.any);
  if (values === null) throw refused("can only be held to where items are one of a list of values");
  const distinct = new Map(values.map((value) => [canonical(value), value]));
  if (distinct.size > MOST_DISTINCT) throw refused(`can only be held to for up to ${MOST_DISTINCT} values`);
  return [...distinct.values()];
}
