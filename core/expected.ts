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

/**
 * What is wrong with a value: `expected a whole number from 0 to 64, got "two"`.
 *
 * @param schema of the whole that was checked
 * @param issue what its check found
 * @param whole what was checked; undefined: the value is a secret, and is not shown
 */
export function problemOf(schema: z.ZodType, issue: z.core.$ZodIssue, whole?: unknown): string {
  const value = valueAt(whole, issue.path);
  const got = whole === undefined ? "" : value === undefined ? ", and it is missing" : `, got ${shown(value)}`;
  // These say in their own words what they want.
  if (issue.code === "custom" || issue.code === "invalid_format" && issue.format === "regex") return `it ${issue.message}${got}`;
  const expected = expectedBy(nodeAt(schemaOf(schema), issue.path));
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
  let node: Node | undefined = root;
  for (const key of path) {
    const forms: readonly Node[] = formsOf(node!);
    node = forms.map((form) => (typeof key === "number" ? form.items : form.properties?.[String(key)]) as Node | undefined)
      .find((child) => child !== undefined);
    if (node === undefined) return null;
  }
  return node;
}

/** A schema's alternatives; itself where it has none. */
function formsOf(node: Node): readonly Node[] {
  return (node.anyOf ?? node.oneOf ?? [node]) as readonly Node[];
}

function expectedBy(node: Node | null): string | null {
  if (node === null) return null;
  if (node.const !== undefined) return JSON.stringify(node.const);
  if (node.enum !== undefined) return listed(node.enum.map((value) => JSON.stringify(value)));
  const forms = formsOf(node);
  if (forms.length > 1 || forms[0] !== node) {
    // Null stands for "not given" wherever it may be written; nobody needs to be told.
    const each = forms.filter(({ type }) => type !== "null").map(expectedBy);
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
      return (node.minLength ?? 0) > 1
        ? `a text of at least ${node.minLength} characters`
        : node.minLength === 1
        ? "a text that is not empty"
        : "a text";
    case "array":
      return (node.minItems ?? 0) > 0 ? "a list that is not empty" : "a list";
    case "object":
      return "a section with settings of its own";
    default:
      return null;
  }
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
  const text = typeof value === "number" || typeof value === "bigint" ? String(value) : JSON.stringify(value) ?? typeof value;
  return text.length <= MOST_SHOWN ? text : `${text.slice(0, MOST_SHOWN)} …`;
}
