/**
 * A schema's parts and what they refer to. Nothing outside of the document is ever fetched.
 *
 * @module
 */
import { UnsupportedSchema } from "./unsupported_schema.ts";

/** A part of a document that has an identity of its own: relative references begin there. */
interface Resource {
  readonly root: object;
  readonly path: string;
  /** Where relative references lead; null: nowhere. */
  readonly base: string | null;
}

/** A schema within a document. */
export interface SchemaNode {
  readonly id: number;
  readonly schema: boolean | Readonly<Record<string, unknown>>;
  /** Where it stands, such as `#/properties/a`. */
  readonly path: string;
  readonly resource: Resource;
}

/** Keywords whose values are no schemas, whatever they look like. */
const VALUES = new Set(["enum", "const", "default", "examples", "example"]);

const MOST_PARTS = 200_000;

/** One document. */
export class SchemaDocument {
  readonly root: SchemaNode;
  readonly #nodes = new Map<object, SchemaNode>();
  readonly #booleans = new Map<boolean, SchemaNode>();
  readonly #negations = new Map<SchemaNode, SchemaNode>();
  readonly #resources = new Map<string, Resource>();
  /** Parts by `$anchor`, within their resource. */
  readonly #anchors = new Map<Resource, Map<string, { readonly schema: object; readonly path: string }>>();
  #ids = 0;
  #parts = 0;

  constructor(schema: unknown) {
    const whole: Resource = { root: Object(schema), path: "#", base: null };
    const resource = this.#identify(schema, whole, "#") ?? whole;
    this.#search(schema, resource, "#");
    this.root = this.node(schema, "#", resource);
  }

  /** The part that a value is. @throws {UnsupportedSchema} if it is no schema */
  node(schema: unknown, path: string, resource: Resource): SchemaNode {
    if (typeof schema === "boolean") {
      let node = this.#booleans.get(schema);
      if (node === undefined) this.#booleans.set(schema, node = { id: this.#ids++, schema, path, resource });
      return node;
    }
    if (typeof schema !== "object" || schema === null || Array.isArray(schema)) {
      throw new UnsupportedSchema(path.split("/").at(-1)!, path, "is not a schema");
    }
    let node = this.#nodes.get(schema);
    if (node === undefined) {
      const own = path === "#" ? null : this.#identify(schema, resource, path);
      node = { id: this.#ids++, schema: schema as Record<string, unknown>, path, resource: own ?? resource };
      this.#nodes.set(schema, node);
    }
    return node;
  }

  /** What does not fit `node`. */
  negation(node: SchemaNode): SchemaNode {
    let negated = this.#negations.get(node);
    if (negated === undefined) {
      const schema = typeof node.schema === "boolean" ? !node.schema : { not: node.schema };
      this.#negations.set(node, negated = this.node(schema, node.path, node.resource));
    }
    return negated;
  }

  /** What a reference means. @throws {UnsupportedSchema} if that is not in this document */
  resolve(reference: unknown, from: SchemaNode): SchemaNode {
    const wrong = (why: string) => new UnsupportedSchema("$ref", from.path, why);
    if (typeof reference !== "string") throw wrong("must be a string");
    const hash = reference.indexOf("#");
    const [uri, fragment] = hash < 0 ? [reference, ""] : [reference.slice(0, hash), reference.slice(hash + 1)];
    const resource = uri === "" ? from.resource : this.#resources.get(absolute(uri, from.resource.base));
    if (resource === undefined) throw wrong(`leads to ${JSON.stringify(reference)}, outside of the schema: nothing is fetched`);
    let pointer: string;
    try {
      pointer = decodeURIComponent(fragment);
    } catch {
      throw wrong(`is not a reference: ${JSON.stringify(reference)}`);
    }
    if (pointer !== "" && !pointer.startsWith("/")) {
      const anchored = this.#anchors.get(resource)?.get(pointer);
      if (anchored === undefined) throw wrong(`leads to ${JSON.stringify(reference)}, where there is nothing`);
      return this.node(anchored.schema, anchored.path, resource);
    }
    let at: unknown = resource.root;
    let path = resource.path;
    let within = resource;
    for (const step of pointer.split("/").slice(1)) {
      const key = step.replaceAll("~1", "/").replaceAll("~0", "~");
      if (typeof at !== "object" || at === null || !Object.hasOwn(at, key)) {
        throw wrong(`leads to ${JSON.stringify(reference)}, where there is nothing`);
      }
      at = (at as Record<string, unknown>)[key];
      path += `/${step}`;
      within = this.#identify(at, within, path) ?? within;
    }
    return this.node(at, path, within);
  }

  /** Finds identities and anchors. */
  #search(schema: unknown, resource: Resource, path: string): void {
    const open: { readonly value: unknown; readonly resource: Resource; readonly path: string }[] = [{ value: schema, resource, path }];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const { value, path } = next;
      if (typeof value !== "object" || value === null) continue;
      if (++this.#parts > MOST_PARTS) throw new UnsupportedSchema(null, "#", `has more than ${MOST_PARTS} parts`);
      const within = this.#identify(value, next.resource, path) ?? next.resource;
      const { $anchor, $id, id } = value as Record<string, unknown>;
      for (const anchor of [$anchor, ...[$id, id].filter((name) => typeof name === "string" && /^#./.test(name))]) {
        if (typeof anchor !== "string") continue;
        const anchors = this.#anchors.get(within) ?? new Map();
        this.#anchors.set(within, anchors.set(anchor.replace(/^#/, ""), { schema: value, path }));
      }
      for (const [key, part] of Object.entries(value)) {
        if (!VALUES.has(key)) open.push({ value: part, resource: within, path: `${path}/${pointerStep(key)}` });
      }
    }
  }

  /** The resource that begins at a value; null if none does. */
  #identify(value: unknown, within: Resource, path: string): Resource | null {
    if (typeof value !== "object" || value === null) return null;
    const { $id, id } = value as Record<string, unknown>;
    const name = typeof $id === "string" ? $id : path === "#" && typeof id === "string" ? id : null;
    if (name === null || name.startsWith("#")) return null;
    const base = absolute(name.replace(/#.*$/, ""), within.base);
    const known = this.#resources.get(base);
    if (known !== undefined) return known.root === value ? known : null;
    const resource: Resource = { root: value, path, base };
    this.#resources.set(base, resource);
    return resource;
  }
}

/** A name as a step of a path. */
export function pointerStep(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}

function absolute(uri: string, base: string | null): string {
  try {
    return new URL(uri, base ?? undefined).href;
  } catch {
    return uri;
  }
}
