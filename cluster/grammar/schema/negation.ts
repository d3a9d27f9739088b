/**
 * What breaks a schema's own keywords. What is not known here is left out: less is then allowed than could be, never more.
 *
 * @module
 */
import { isExact, type NumberBound } from "../text/numbers.ts";
import type { SchemaNode } from "./document.ts";
import type { Keywords } from "./keywords.ts";
import { ALL_TYPES, ANY_SHAPE, type ObjectLayer, type Shape, Type } from "./shape.ts";

/** What breaks a schema. */
export interface Negation {
  readonly shapes: readonly Shape[];
  /** Whether that is all that does. */
  readonly exact: boolean;
}

/** Keywords of which everything that breaks them is known. */
const KNOWN = new Set([
  ...["type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "pattern"],
  ...["minItems", "maxItems", "minProperties", "maxProperties", "required", "properties", "$ref", "allOf", "anyOf", "not"],
]);

/**
 * Shapes of which each breaks one keyword, apart from those that combine schemas.
 *
 * @param negation what does not fit a schema
 * @param forbidding what an object without a property has, and evaluates nothing
 */
export function negatedKeywords(own: Keywords, negation: (node: SchemaNode) => SchemaNode, forbidding: (name: string) => ObjectLayer): Negation {
  const { types, integer } = own.types();
  const { number, text, array, object } = own.shape();
  const shapes: Shape[] = [];
  let exact = !integer && !own.narrowed && own.asserted().every((keyword) => KNOWN.has(keyword));
  const add = (shape: Partial<Shape>) => shapes.push({ ...ANY_SHAPE, ...shape });
  const other = ALL_TYPES & ~types & ~(integer ? Type.number : 0);
  if (other !== 0) add({ types: other });

  const numbers = (rules: Partial<Shape["number"]>) => add({ types: Type.number, number: { ...ANY_SHAPE.number, ...rules } });
  const values = own.values();
  if (values !== null) {
    add({ types: ALL_TYPES & ~Type.number, excluded: values.map((value) => ({ value, place: own.node.place })) });
    // Numbers are written in many ways: what is left are the ranges between them.
    const taken = values.filter((value) => typeof value === "number").sort((a, b) => a - b);
    if (taken.every((value) => isExact(value))) {
      for (let i = 0; i <= taken.length; i++) {
        const bound = (value: number | undefined) => value === undefined ? null : { value, exclusive: true };
        numbers({ min: bound(taken[i - 1]), max: bound(taken[i]) });
      }
    } else exact = false;
  }
  if (!own.has("format")) {
    const opposite = ({ value, exclusive }: NumberBound) => exclusive || isExact(value) ? { value, exclusive: !exclusive } : null;
    for (const [bound, other] of [["min", "max"], ["max", "min"]] as const) {
      const value = number[bound];
      if (value === null) continue;
      const beyond = opposite(value);
      if (beyond === null) exact = false;
      else numbers({ [other]: beyond });
    }
  }

  const texts = (rules: Partial<Shape["text"]>) => add({ types: Type.string, text: { ...ANY_SHAPE.text, ...rules } });
  if (text.min > 0) texts({ max: text.min - 1 });
  if (text.max < Infinity) texts({ min: text.max + 1 });
  if (own.has("pattern")) texts({ patterns: [{ source: own.pattern("pattern", own.get("pattern")), negated: true }] });

  const arrays = (rules: Partial<Shape["array"]>) => add({ types: Type.array, array: { ...ANY_SHAPE.array, ...rules } });
  if (array.min > 0) arrays({ max: array.min - 1 });
  if (array.max < Infinity) arrays({ min: array.max + 1 });

  const objects = (rules: Partial<Shape["object"]>) => add({ types: Type.object, object: { ...ANY_SHAPE.object, place: own.node.place, ...rules } });
  if (object.min > 0) objects({ max: object.min - 1 });
  if (object.max < Infinity) objects({ min: object.max + 1 });
  for (const name of object.required) objects({ layers: [forbidding(name)] });
  for (const layer of object.layers) {
    for (const [name, node] of layer.properties) {
      if (node.schema === true) continue;
      objects({ required: new Set([name]), layers: [{ ...forbidding(name), properties: new Map([[name, negation(node)]]) }] });
    }
  }
  return { shapes, exact };
}
