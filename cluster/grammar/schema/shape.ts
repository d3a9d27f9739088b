/**
 * What a schema says about a value, by the value's type. A schema is a list of shapes, one of which has to fit.
 *
 * @module
 */
import type { NumberBound, NumberRules } from "../text/numbers.ts";
import { canonical, type Json } from "../text/json_text.ts";
import type { SchemaNode } from "./document.ts";
import { type Place, ROOT } from "./place.ts";

/** Types as bits. */
export const Type = { null: 1, boolean: 2, number: 4, string: 8, array: 16, object: 32 } as const;
export const ALL_TYPES = 63;

/** A pattern that a text has, or has not. */
export interface PatternRule {
  readonly source: string;
  readonly negated: boolean;
}

/** @see min in characters */
export interface TextRules {
  readonly min: number;
  readonly max: number;
  readonly patterns: readonly PatternRule[];
}

/** What one schema says about an array's items. */
export interface ArrayLayer {
  readonly first: readonly SchemaNode[];
  /** Those after the first; null: anything. */
  readonly rest: SchemaNode | null;
}

export interface ArrayRules {
  readonly layers: readonly ArrayLayer[];
  readonly min: number;
  readonly max: number;
  /** Where it is said that items must differ; null: nowhere. */
  readonly unique: Place | null;
  /** At least so many items fit a schema. */
  readonly contains: readonly { readonly node: SchemaNode; readonly min: number; readonly place: Place }[];
}

/** What one schema says about an object's properties. */
export interface ObjectLayer {
  readonly properties: ReadonlyMap<string, SchemaNode>;
  readonly patterns: readonly { readonly source: string; readonly node: SchemaNode }[];
  /** The others; null: anything. */
  readonly others: SchemaNode | null;
  /** Whether what it speaks of counts as evaluated: what is said by way of a schema that does not fit is not. */
  readonly evaluates: boolean;
}

export interface ObjectRules {
  readonly layers: readonly ObjectLayer[];
  readonly required: ReadonlySet<string>;
  readonly min: number;
  readonly max: number;
  /** What names have to fit. */
  readonly names: readonly SchemaNode[];
  /** The schema that bounds how many there are, for who has to be told. */
  readonly place: Place;
}

/** One way to fit. */
export interface Shape {
  /** Bits of {@link Type}. */
  readonly types: number;
  /** Only these values; null: any. */
  readonly values: readonly Json[] | null;
  /** None of these, and where that is said. */
  readonly excluded: readonly { readonly value: Json; readonly place: Place }[];
  readonly number: NumberRules;
  readonly text: TextRules;
  readonly array: ArrayRules;
  readonly object: ObjectRules;
}

/** Anything. */
export const ANY_SHAPE: Shape = {
  types: ALL_TYPES,
  values: null,
  excluded: [],
  number: { integer: false, min: null, max: null, multiplesOf: [] },
  text: { min: 0, max: Infinity, patterns: [] },
  array: { layers: [], min: 0, max: Infinity, unique: null, contains: [] },
  object: { layers: [], required: new Set(), min: 0, max: Infinity, names: [], place: ROOT },
};

/** The shape of what has another, but not by fitting a schema: nothing counts as evaluated. */
export function withoutEvaluating(shape: Shape): Shape {
  const { layers } = shape.object;
  if (layers.every(({ evaluates }) => !evaluates)) return shape;
  return { ...shape, object: { ...shape.object, layers: layers.map((layer) => ({ ...layer, evaluates: false })) } };
}

/** The type of a value. */
export function typeOf(value: Json): number {
  if (value === null) return Type.null;
  if (Array.isArray(value)) return Type.array;
  return Type[typeof value as "boolean" | "number" | "string" | "object"];
}

/** What fits both shapes; null if nothing can. */
export function both(a: Shape, b: Shape): Shape | null {
  if (a === ANY_SHAPE) return b;
  if (b === ANY_SHAPE) return a;
  const types = a.types & b.types;
  const values = a.values === null ? b.values : b.values === null ? a.values : commonValues(a.values, b.values);
  if (types === 0 || values?.length === 0) return null;
  return {
    types,
    values,
    excluded: [...a.excluded, ...b.excluded],
    number: {
      integer: a.number.integer || b.number.integer,
      min: stricter(a.number.min, b.number.min, (x, y) => x > y),
      max: stricter(a.number.max, b.number.max, (x, y) => x < y),
      multiplesOf: [...a.number.multiplesOf, ...b.number.multiplesOf],
    },
    text: { ...bounds(a.text, b.text), patterns: [...a.text.patterns, ...b.text.patterns] },
    array: {
      ...bounds(a.array, b.array),
      layers: [...a.array.layers, ...b.array.layers],
      unique: a.array.unique ?? b.array.unique,
      contains: [...a.array.contains, ...b.array.contains],
    },
    object: {
      ...bounds(a.object, b.object),
      layers: [...a.object.layers, ...b.object.layers],
      required: a.object.required.size === 0 ? b.object.required : a.object.required.union(b.object.required),
      names: [...a.object.names, ...b.object.names],
      place: a.object.min > 0 || a.object.max < Infinity ? a.object.place : b.object.place,
    },
  };
}

function bounds(a: { readonly min: number; readonly max: number }, b: { readonly min: number; readonly max: number }): { min: number; max: number } {
  return { min: Math.max(a.min, b.min), max: Math.min(a.max, b.max) };
}

function stricter(a: NumberBound | null, b: NumberBound | null, isStricter: (a: number, b: number) => boolean): NumberBound | null {
  if (a === null || b === null) return a ?? b;
  if (a.value === b.value) return a.exclusive ? a : b;
  return isStricter(a.value, b.value) ? a : b;
}

function commonValues(a: readonly Json[], b: readonly Json[]): Json[] {
  const known = new Set(b.map(canonical));
  return a.filter((value) => known.has(canonical(value)));
}
