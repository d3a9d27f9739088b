/**
 * What a schema expects somewhere, and what came instead, in words for people who have never heard of the library that checked it.
 *
 * @module
 */
import { z } from "zod";

/** A JSON Schema, as far as it is read here. */
type Node = z.core.JSONSchema.BaseSchema;

/** Longest value that is shown whole. */
const MOST_SHOWN = 60;

/** How to call what is checked. */
export interface ExpectedWords {
  /** What has fields of its own; default: a section, as files have them. */
  readonly object?: string;
}

/**
 * What is wrong with a value: `expected a whole number from 0 to 64, got "two"`.
 *
 * @param schema of the whole that was checked
 * @param issue what its check found
 * @param whole what was checked; undefined: the value is a secret, and is not shown
 */
export function problemOf(
  schema: z.ZodType,
  issue: z.core.$ZodIssue,
  whole?: unknown,
  { object = "a section with settings of its own" }: ExpectedWords = {},
): string {
  const value = valueAt(whole, issue.path);
  const got = whole === undefined ? "" : value === undefined ? ", and it is missing" : `, got ${shown(value)}`;
  // A name that users give, and not what is under it.
  if (issue.code === "invalid_key") return `the name ${issue.issues[0].message}, got ${shown(issue.path.at(-1))}`;
  // These say in their own words what they want.
  const ownWords = issue.code === "custom" || issue.code === "invalid_format" && issue.format === "regex" || issue.message.startsWith("must ");
  if (ownWords) return `it ${issue.message}${got}`;
  const expected = expectedBy(nodeAt(schemaOf(schema), issue.path), object);
  return expected === null ? issue.message : `expected ${expected}${got}`;
}

/** Names that a schema's objects have at a path. */
export function keysAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  return Object.keys(nodeAt(schemaOf(schema), path)?.properties ?? {});
}

/** Paths of everything that can be said, sections and lists too. */
export function pathsOf(schema: z.ZodType): string[] {
  const walk = (node: Node, path: string): string[] =>
    Object.entries(node.properties ?? {}).flatMap(([key, child]) => {
      const here = path === "" ? key : `${path}.${key}`;
      return [here, ...walk(child as Node, here)];
    });
  return walk(schemaOf(schema), "");
}

function schemaOf(schema: z.ZodType): Node {
  return z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as Node;
}

function valueAt(whole: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown> | null | undefined)?.[key], whole);
}

function nodeAt(root: Node, path: readonly PropertyKey[]): Node | null {
  return path.reduce<Node | null>((node, key) => {
    // Of alternatives whatever has the key, or all that have; those that take any name say nothing of it.
    const children = formsOf(node ?? {}).flatMap(formsOf).map((form) => childOf(form, key)).filter((child) =>
      child !== undefined && Object.keys(child).length > 0
    ) as Node[];
    return children.length > 1 ? { anyOf: children } : children[0] ?? null;
  }, root);
}

function childOf(node: Node, key: PropertyKey): Node | undefined {
  if (typeof key !== "number") return (node.properties?.[String(key)] ?? ofAnyName(node)) as Node | undefined;
  return (node.prefixItems?.[key] ?? (typeof node.items === "object" ? node.items : undefined)) as Node | undefined;
}

/** What an object has under names that are not its own; undefined where there are none. */
function ofAnyName({ additionalProperties: any }: Node): Node | undefined {
  return typeof any === "object" ? any as Node : undefined;
}

/** A schema's alternatives; itself where it has none. */
function formsOf(node: Node): readonly Node[] {
  // Null beside what has no bounds is written as one of two types.
  if (Array.isArray(node.type)) return (node.type as readonly Node["type"][]).map((type) => ({ ...node, type }));
  return (node.anyOf ?? node.oneOf ?? [node]) as readonly Node[];
}

function expectedBy(node: Node | null, object: string): string | null {
  if (node === null) return null;
  if (node.const !== undefined) return JSON.stringify(node.const);
  if (node.enum !== undefined) return listed(node.enum.map((value) => JSON.stringify(value)));
  const forms = formsOf(node);
  if (forms.length > 1 || forms[0] !== node) {
    // Null stands for "not given" wherever it may be written; nobody needs to be told.
    const each = forms.filter(({ type }) => type !== "null").map((form) => expectedBy(form, object));
    return each.includes(null) ? null : listed([...new Set(each as string[])]);
  }
  switch (node.type) {
    case "integer":
      return `a whole number${rangeOf(node)}`;
    case "number":
      return `a number${rangeOf(node)}`;
    case "boolean":
      return "true or false";
    case "string":
      if (node.format === "uri") return "a URL";
      return `a text${lengthOf(node.minLength, node.maxLength, "characters")}`;
    case "array":
      return `a list${lengthOf(node.minItems, node.maxItems, "elements")}`;
    case "object":
      return object;
    default:
      return null;
  }
}

function lengthOf(least = 0, most = Infinity, of: string): string {
  if (most < Infinity) return least > 0 ? ` of ${least} to ${most} ${of}` : ` of at most ${most} ${of}`;
  if (least > 1) return ` of at least ${least} ${of}`;
  return least === 1 ? " that is not empty" : "";
}

/** Bounds, but for those that all numbers have. */
function rangeOf(node: Node): string {
  const { exclusiveMinimum: above, exclusiveMaximum: below } = node;
  const least = bound(node.minimum);
  const most = bound(node.maximum);
  if (least !== null && most !== null) return ` from ${least} to ${most}`;
  const parts = [
    ...above === undefined ? [] : [`above ${above}`],
    ...least === null ? [] : [`of at least ${least}`],
    ...most === null ? [] : [`of at most ${most}`],
    ...below === undefined ? [] : [`below ${below}`],
  ];
  return parts.length === 0 ? "" : ` ${parts.join(" and ")}`;
}

function bound(value: number | undefined): number | null {
  return value === undefined || Math.abs(value) >= Number.MAX_SAFE_INTEGER ? null : value;
}

function listed(choices: readonly string[]): string {
  return choices.length === 1 ? choices[0] : `${choices.slice(0, -1).join(", ")} or ${choices.at(-1)}`;
}

function shown(value: unknown): string {
  const text = typeof value === "number" || typeof value === "bigint" ? String(value) : jsonOf(value) ?? typeof value;
  return text.length <= MOST_SHOWN ? text : `${text.slice(0, MOST_SHOWN)} …`;
}

function jsonOf(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch {
    // Nested too deeply, or in a circle.
    return undefined;
  }
}
