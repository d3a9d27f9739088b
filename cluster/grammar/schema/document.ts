/**
 * A schema's parts and what they refer to. Nothing outside of the document is ever fetched.
 *
 * @module
 */
import { below, type Place, pointerStep, quoted, ROOT } from "./place.ts";
import { UnsupportedSchema } from "./unsupported_schema.ts";

/** A part of a document that has an identity of its own: relative references begin there. */
interface Resource {
  readonly root: object;
  readonly place: Place;
  /** Where relative references lead; null: nowhere. */
  readonly base: string | null;
}

/** A schema within a document. */
export interface SchemaNode {
  readonly id: number;
  readonly schema: boolean | Readonly<Record<string, unknown>>;
  readonly place: Place;
  readonly resource: Resource;
}

/** Keywords whose values are no schemas, whatever they look like. */
const VALUES = new Set(["enum", "const", "default", "examples", "example"]);

const MOST_PARTS = 200_000;
/** Levels of objects and lists; people's schemas have a few dozen. */
const MOST_LEVELS = 512;
/** Characters of an identity with all that it is relative to. */
const MOST_IDENTITY = 2048;

/** A part that has not been looked at. */
interface Part {
  readonly value: object;
  readonly levels: number;
  /** null: it is within a value, and no schema. */
  readonly resource: Resource | null;
  readonly place: Place;
}

/** One document. */
export class SchemaDocument {
  readonly root: SchemaNode;
  readonly #nodes = new Map<object, SchemaNode>();
  readonly #booleans = new Map<boolean, SchemaNode>();
  readonly #negations = new Map<SchemaNode, SchemaNode>();
  readonly #resources = new Map<string, Resource>();
  /** Parts by `$anchor`, within their resource. */
  readonly #anchors = new Map<Resource, Map<string, { readonly schema: object; readonly place: Place }>>();
  #ids = 0;
  #parts = 0;

  constructor(schema: unknown) {
    const whole: Resource = { root: Object(schema), place: ROOT, base: null };
    const resource = this.#identify(schema, whole, ROOT) ?? whole;
    this.#search(schema, resource);
    this.root = this.node(schema, ROOT, resource);
  }

  /** The part that a value is. @throws {UnsupportedSchema} if it is no schema */
  node(schema: unknown, place: Place, resource: Resource): SchemaNode {
    if (typeof schema === "boolean") {
      let node = this.#booleans.get(schema);
      if (node === undefined) this.#booleans.set(schema, node = { id: this.#ids++, schema, place, resource });
      return node;
    }
    if (typeof schema !== "object" || schema === null || Array.isArray(schema)) {
      throw new UnsupportedSchema(place.step, place, "is not a schema");
    }
    let node = this.#nodes.get(schema);
    if (node === undefined) {
      const own = place.from === null ? null : this.#identify(schema, resource, place);
      node = { id: this.#ids++, schema: schema as Record<string, unknown>, place, resource: own ?? resource };
      this.#nodes.set(schema, node);
    }
    return node;
  }

  /** What does not fit `node`. */
  negation(node: SchemaNode): SchemaNode {
    let negated = this.#negations.get(node);
    if (negated === undefined) {
      const schema = typeof node.schema === "boolean" ? !node.schema : { not: node.schema };
      this.#negations.set(node, negated = this.node(schema, node.place, node.resource));
    }
    return negated;
  }

  /** What a reference means. @throws {UnsupportedSchema} if that is not in this document */
  resolve(reference: unknown, from: SchemaNode): SchemaNode {
    const wrong = (why: string) => new UnsupportedSchema("$ref", from.place, why);
    if (typeof reference !== "string") throw wrong("must be a string");
    const hash = reference.indexOf("#");
    const [uri, fragment] = hash < 0 ? [reference, ""] : [reference.slice(0, hash), reference.slice(hash + 1)];
    const resource = uri === "" ? from.resource : this.#resources.get(absolute(uri, from.resource.base));
    if (resource === undefined) throw wrong(`leads to ${quoted(reference)}, outside of the schema: nothing is fetched`);
    let pointer: string;
    try {
      pointer = decodeURIComponent(fragment);
    } catch {
      throw wrong(`is not a reference: ${quoted(reference)}`);
    }
    if (pointer !== "" && !pointer.startsWith("/")) {
      const anchored = this.#anchors.get(resource)?.get(pointer);
      if (anchored === undefined) throw wrong(`leads to ${quoted(reference)}, where there is nothing`);
      return this.node(anchored.schema, anchored.place, resource);
    }
    let at: unknown = resource.root;
    let { place } = resource;
    let within = resource;
    for (const step of pointer.split("/").slice(1)) {
      const key = step.replaceAll("~1", "/").replaceAll("~0", "~");
      if (typeof at !== "object" || at === null || !Object.hasOwn(at, key)) {
        throw wrong(`leads to ${quoted(reference)}, where there is nothing`);
      }
      at = (at as Record<string, unknown>)[key];
      place = below(place, step);
      within = this.#identify(at, within, place) ?? within;
    }
    return this.node(at, place, within);
  }

  /** Finds identities and anchors. @throws {UnsupportedSchema} if there is too much of it */
  #search(schema: unknown, resource: Resource): void {
    const open: Part[] = [];
    const add = (part: unknown, levels: number, within: Resource | null, place: Place) => {
      if (typeof part !== "object" || part === null) return;
      if (levels > MOST_LEVELS) {
        throw new UnsupportedSchema(null, place, `is nested too deeply: more than ${MOST_LEVELS} levels of objects and lists`);
      }
      open.push({ value: part, levels, resource: within, place });
    };
    add(schema, 1, resource, ROOT);
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const { value, levels, place } = next;
      if (++this.#parts > MOST_PARTS) throw new UnsupportedSchema(null, ROOT, `has more than ${MOST_PARTS} parts`);
      const within = next.resource === null ? null : this.#identify(value, next.resource, place) ?? next.resource;
      if (within !== null) this.#findAnchors(value, within, place);
      for (const [key, part] of Object.entries(value)) {
        if (typeof part === "object") add(part, levels + 1, VALUES.has(key) ? null : within, below(place, pointerStep(key)));
      }
    }
  }

  #findAnchors(value: object, resource: Resource, place: Place): void {
    const { $anchor, $id, id } = value as Record<string, unknown>;
    for (const anchor of [$anchor, ...[$id, id].filter((name) => typeof name === "string" && /^#./.test(name))]) {
      if (typeof anchor !== "string") continue;
      const anchors = this.#anchors.get(resource) ?? new Map();
      this.#anchors.set(resource, anchors.set(anchor.replace(/^#/, ""), { schema: value, place }));
    }
  }

  /** The resource that begins at a value; null if none does. */
  #identify(value: unknown, within: Resource, place: Place): Resource | null {
    if (typeof value !== "object" || value === null) return null;
    const { $id, id } = value as Record<string, unknown>;
    const name = typeof $id === "string" ? $id : place.from === null && typeof id === "string" ? id : null;
    if (name === null || name.startsWith("#")) return null;
    const base = absolute(name.split("#", 1)[0], within.base);
    if (base.length > MOST_IDENTITY) throw new UnsupportedSchema("$id", place, `comes to more than ${MOST_IDENTITY} characters`);
    const known = this.#resources.get(base);
    if (known !== undefined) return known.root === value ? known : null;
    const resource: Resource = { root: value, place, base };
    this.#resources.set(base, resource);
    return resource;
  }
}

function absolute(uri: string, base: string | null): string {
  try {
    return new URL(uri, base ?? undefined).href;
  } catch {
    return uri;
  }
}
