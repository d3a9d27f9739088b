/**
 * What a schema's own keywords say, apart from those that combine schemas: one shape. Whatever is not enforced is refused by name.
 *
 * @module
 */
import { UnsupportedPattern } from "../patterns/pattern_tree.ts";
import { canonical, type Json } from "../text/json_text.ts";
import { EXACT_DIGITS, isExact, type NumberBound, type NumberRules } from "../text/numbers.ts";
import type { SchemaDocument, SchemaNode } from "./document.ts";
import { numberFormat, textFormat } from "./formats.ts";
import { below, pointerStep, quoted } from "./place.ts";
import { ALL_TYPES, ANY_SHAPE, type ArrayRules, both, type ObjectRules, type Shape, Type } from "./shape.ts";
import { UnsupportedSchema } from "./unsupported_schema.ts";

/** Whether it is known of every text if a pattern is found in it. @throws {UnsupportedPattern} */
export type PatternCheck = (source: string) => boolean;

/** Keywords that ask for what no grammar here enforces. */
const REFUSED = ["$dynamicRef", "$recursiveRef", "unevaluatedItems", "disallow", "extends", "divisibleBy"];

/** Keywords that ask for something; all others only describe. */
const ASSERTIONS = new Set([
  ...["type", "enum", "const", "format", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"],
  ...["minLength", "maxLength", "pattern", "items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"],
  ...["contains", "minContains", "maxContains", "properties", "patternProperties", "additionalProperties", "propertyNames"],
  ...["required", "minProperties", "maxProperties", "dependencies", "dependentRequired", "dependentSchemas"],
  ...["$ref", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "unevaluatedProperties"],
]);

/** A reader of one schema's keywords. */
export class Keywords {
  readonly node: SchemaNode;
  readonly #schema: Readonly<Record<string, unknown>>;
  readonly #document: SchemaDocument;
  readonly #isDecided: PatternCheck;
  /** Whether less fits than its patterns say. */
  #narrowed = false;

  constructor(document: SchemaDocument, node: SchemaNode, isDecided: PatternCheck) {
    this.node = node;
    this.#schema = node.schema as Record<string, unknown>;
    this.#document = document;
    this.#isDecided = isDecided;
    for (const keyword of REFUSED) if (this.has(keyword)) throw this.unsupported(keyword, "is not supported");
  }

  has(keyword: string): boolean {
    return Object.hasOwn(this.#schema, keyword);
  }

  get(keyword: string): unknown {
    return this.has(keyword) ? this.#schema[keyword] : undefined;
  }

  /** Keywords that ask for something. */
  asserted(): string[] {
    return Object.keys(this.#schema).filter((keyword) => ASSERTIONS.has(keyword));
  }

  /** Whether the schema of a keyword asks for anything. */
  asks(keyword: string): boolean {
    const value = this.get(keyword);
    return typeof value === "object" && value !== null ? Object.keys(value).some((keyword) => ASSERTIONS.has(keyword)) : value === false;
  }

  unsupported(keyword: string, why: string): UnsupportedSchema {
    return new UnsupportedSchema(keyword, this.node.place, why);
  }

  /** The schema of a keyword. */
  part(keyword: string, value: unknown = this.get(keyword), ...steps: readonly (string | number)[]): SchemaNode {
    const place = below(this.node.place, keyword, ...steps.map((step) => pointerStep(String(step))));
    return this.#document.node(value, place, this.node.resource);
  }

  /** The schemas of a keyword that has several. */
  parts(keyword: string): SchemaNode[] {
    const value = this.get(keyword);
    if (value === undefined) return [];
    if (!Array.isArray(value) || value.length === 0) throw this.unsupported(keyword, "must be a list of schemas");
    return value.map((schema, i) => this.part(keyword, schema, i));
  }

  /** A keyword that is an object. */
  entries(keyword: string): [name: string, value: unknown][] {
    const value = this.get(keyword);
    if (value === undefined) return [];
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw this.unsupported(keyword, "must be an object");
    return Object.entries(value);
  }

  names(keyword: string, value: unknown = this.get(keyword)): string[] {
    if (value === undefined) return [];
    if (!Array.isArray(value) || value.some((name) => typeof name !== "string")) throw this.unsupported(keyword, "must be a list of names");
    return value;
  }

  count(keyword: string): number | undefined {
    const value = this.get(keyword);
    if (value === undefined) return undefined;
    if (typeof value !== "number" || !Number.isInteger(value) || value < 0) throw this.unsupported(keyword, "must be a whole number ≥ 0");
    return value;
  }

  pattern(keyword: string, source: unknown): string {
    if (typeof source !== "string") throw this.unsupported(keyword, "must be a string");
    try {
      if (!this.#isDecided(source)) this.#narrowed = true;
    } catch (error) {
      if (error instanceof UnsupportedPattern) throw this.unsupported(keyword, `cannot be used: ${error.message}: ${quoted(source)}`);
      throw error;
    }
    return source;
  }

  /** Whether less fits than the keywords say, known when {@link shape} has been asked for: formats are narrower here than elsewhere. */
  get narrowed(): boolean {
    return this.#narrowed || this.has("format") || this.has("unevaluatedProperties");
  }

  /** All of them as one shape. */
  shape(): Shape {
    const { types, integer } = this.types();
    const { number, patterns } = this.#format(types);
    const shape: Shape = {
      ...ANY_SHAPE,
      types,
      values: this.values(),
      number: { integer, ...this.#bounds(), multiplesOf: this.#multipleOf() },
      text: {
        min: this.count("minLength") ?? 0,
        max: this.count("maxLength") ?? Infinity,
        patterns: [...patterns, ...(this.has("pattern") ? [this.pattern("pattern", this.get("pattern"))] : [])].map((source) => ({
          source,
          negated: false,
        })),
      },
      array: this.#array(),
      object: this.#object(),
    };
    return number === null ? shape : both(shape, { ...ANY_SHAPE, number: { ...ANY_SHAPE.number, ...number } })!;
  }

  /** Values of `enum` and `const`; null: any. */
  values(): readonly Json[] | null {
    const listed = this.get("enum");
    if (listed !== undefined && (!Array.isArray(listed) || listed.length === 0)) throw this.unsupported("enum", "must be a list of values");
    const all = listed as readonly Json[] | undefined ?? null;
    all?.forEach((value) => this.#writable("enum", value));
    if (!this.has("const")) return all;
    const only = this.get("const") as Json;
    this.#writable("const", only);
    const text = canonical(only);
    return all === null ? [only] : all.filter((value) => canonical(value) === text);
  }

  types(): { types: number; integer: boolean } {
    const type = this.get("type");
    if (type === undefined) return { types: ALL_TYPES, integer: false };
    const names = [type].flat();
    let types = 0;
    for (const name of names) {
      if (typeof name !== "string" || (name !== "integer" && !Object.hasOwn(Type, name))) {
        const what = typeof name === "string" ? `is ${quoted(name)}, which is no type` : "must be the name of a type, or a list of them";
        throw this.unsupported("type", what);
      }
      types |= name === "integer" ? Type.number : Type[name as keyof typeof Type];
    }
    return { types, integer: names.includes("integer") && !names.includes("number") };
  }

  /** Formats of types that cannot come ask for nothing. */
  #format(types: number): { readonly number: Partial<NumberRules> | null; readonly patterns: readonly string[] } {
    const format = this.get("format");
    if (format === undefined) return { number: null, patterns: [] };
    if (typeof format !== "string") throw this.unsupported("format", "must be a string");
    const [number, text] = [numberFormat(format), textFormat(format)];
    if (number === undefined && text === undefined && (types & (Type.number | Type.string)) !== 0) {
      throw this.unsupported("format", `is ${quoted(format)}, which is not known`);
    }
    return { number: number ?? null, patterns: text === undefined || text === "" ? [] : [text] };
  }

  #bounds(): { min: NumberBound | null; max: NumberBound | null } {
    const one = (inclusive: string, exclusive: string, better: (a: number, b: number) => number): NumberBound | null => {
      const value = this.#number(inclusive);
      const other = this.get(exclusive);
      // Draft 4 says true or false.
      if (typeof other === "boolean") return value === undefined ? null : this.#exact(exclusive, { value, exclusive: other });
      const beyond = this.#number(exclusive);
      if (beyond === undefined) return value === undefined ? null : { value, exclusive: false };
      const wins = value === undefined || better(value, beyond) === beyond;
      return wins ? this.#exact(exclusive, { value: beyond, exclusive: true }) : { value, exclusive: false };
    };
    return { min: one("minimum", "exclusiveMinimum", Math.max), max: one("maximum", "exclusiveMaximum", Math.min) };
  }

  #exact(keyword: string, bound: NumberBound): NumberBound {
    if (bound.exclusive && !isExact(bound.value)) {
      throw this.unsupported(keyword, `has more than ${EXACT_DIGITS} digits: not all numbers beside it can be told from it`);
    }
    return bound;
  }

  /** Numbers that doubles cannot hold have become others before anybody sees them. */
  #writable(keyword: string, value: Json): void {
    if (typeof value === "number" && (!Number.isFinite(value) || Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < 1e21)) {
      throw this.unsupported(keyword, "holds a number of more digits than are exact: use one of up to 2^53, or a string");
    }
    if (typeof value === "object" && value !== null) { for (const part of Object.values(value)) this.#writable(keyword, part); }
  }

  #number(keyword: string): number | undefined {
    const value = this.get(keyword);
    if (value !== undefined && typeof value !== "number") throw this.unsupported(keyword, "must be a number");
    if (typeof value === "number" && !Number.isFinite(value)) throw this.unsupported(keyword, "is beyond the numbers that doubles hold");
    return value;
  }

  #multipleOf(): number[] {
    const factor = this.#number("multipleOf");
    if (factor === undefined) return [];
    if (!(factor > 0)) throw this.unsupported("multipleOf", "must be positive");
    if (!Number.isInteger(factor)) throw this.unsupported("multipleOf", "is not a whole number: readers do not agree on multiples of decimals");
    if (factor > 2 ** 40) throw this.unsupported("multipleOf", "is too large");
    return [factor];
  }

  #array(): ArrayRules {
    const items = this.get("items");
    // Before 2020-12 the first items were a list under `items`, and the rest under `additionalItems`.
    const listed = Array.isArray(items);
    const first = listed ? items.map((schema, i) => this.part("items", schema, i)) : this.has("prefixItems") ? this.parts("prefixItems") : [];
    const rest = listed ? "additionalItems" : "items";
    const layer = { first, rest: this.has(rest) ? this.part(rest) : null };
    const unique = this.get("uniqueItems") ?? false;
    if (typeof unique !== "boolean") throw this.unsupported("uniqueItems", "must be true or false");
    const least = this.count("minContains") ?? 1;
    if (this.has("contains") && this.has("maxContains")) throw this.unsupported("maxContains", "is not supported");
    return {
      layers: first.length > 0 || layer.rest !== null ? [layer] : [],
      min: this.count("minItems") ?? 0,
      max: this.count("maxItems") ?? Infinity,
      unique: unique ? this.node.place : null,
      contains: this.has("contains") && least > 0 ? [{ node: this.part("contains"), min: least, place: this.node.place }] : [],
    };
  }

  #object(): ObjectRules {
    const properties = new Map(this.entries("properties").map(([name, schema]) => [name, this.part("properties", schema, name)]));
    const patterns = this.entries("patternProperties").map(([source, schema]) => ({
      source: this.pattern("patternProperties", source),
      node: this.part("patternProperties", schema, source),
    }));
    const others = this.has("additionalProperties") ? this.part("additionalProperties") : null;
    return {
      layers: properties.size > 0 || patterns.length > 0 || others !== null ? [{ properties, patterns, others, evaluates: true }] : [],
      required: new Set(this.names("required")),
      min: this.count("minProperties") ?? 0,
      max: this.count("maxProperties") ?? Infinity,
      names: this.has("propertyNames") ? [this.part("propertyNames")] : [],
      place: this.node.place,
    };
  }
}
