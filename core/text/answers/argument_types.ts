/**
 * What the arguments of a tool may be, as far as its schema says so plainly: what tells a text from JSON where a model writes texts as they are.
 *
 * @module
 */

/** Types of JSON Schema that an argument may have, by its name; names that are missing may have any. */
export type ArgumentTypes = Readonly<Record<string, readonly string[]>>;

const ALL = ["null", "boolean", "integer", "number", "string", "array", "object"];
const DEPTH = 16;

/** The type of a value as schemas name it. */
export function jsonTypeOf(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value;
}

/** @param schema of a tool's parameters */
export function argumentTypes(schema: unknown): ArgumentTypes {
  const types: Record<string, readonly string[]> = Object.create(null);
  collect(schema, schema, DEPTH, types);
  return { ...types };
}

/** Properties of a schema and of those that it is put together from. */
function collect(root: unknown, schema: unknown, depth: number, types: Record<string, readonly string[]>): void {
  if (!isObject(schema) || depth === 0) return;
  if (isObject(schema.properties)) {
    for (const [name, property] of Object.entries(schema.properties)) {
      const found = typesOf(root, property, DEPTH);
      const known = types[name];
      if (known !== undefined || found.length < ALL.length) types[name] = known === undefined ? found : [...new Set([...known, ...found])];
    }
  }
  if (typeof schema.$ref === "string") collect(root, resolve(root, schema.$ref), depth - 1, types);
  for (const keyword of ["allOf", "anyOf", "oneOf"]) {
    const parts = schema[keyword];
    if (Array.isArray(parts)) { for (const part of parts) collect(root, part, depth - 1, types); }
  }
}

function typesOf(root: unknown, schema: unknown, depth: number): readonly string[] {
  if (!isObject(schema) || depth === 0) return ALL;
  let types: readonly string[] = ALL;
  const only = (allowed: readonly string[]) => {
    types = types.filter((type) => allowed.includes(type) || (type === "integer" && allowed.includes("number")));
  };
  if (typeof schema.type === "string") only([schema.type]);
  else if (Array.isArray(schema.type)) only(schema.type);
  if (Array.isArray(schema.enum)) only(schema.enum.map(jsonTypeOf));
  if ("const" in schema) only([jsonTypeOf(schema.const)]);
  if (typeof schema.$ref === "string") only(typesOf(root, resolve(root, schema.$ref), depth - 1));
  if (Array.isArray(schema.allOf)) schema.allOf.forEach((part) => only(typesOf(root, part, depth - 1)));
  for (const keyword of ["anyOf", "oneOf"]) {
    const parts = schema[keyword];
    if (Array.isArray(parts)) only(parts.flatMap((part) => typesOf(root, part, depth - 1)));
  }
  return types;
}

/** What a reference within the document leads to; undefined if that is nothing. */
function resolve(root: unknown, reference: string): unknown {
  if (!reference.startsWith("#")) return undefined;
  let value = root;
  for (const part of decodeURIComponent(reference.slice(1)).split("/").slice(1)) {
    const name = part.replaceAll("~1", "/").replaceAll("~0", "~");
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
