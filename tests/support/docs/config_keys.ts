/**
 * Every key of the cluster file as a list for people, from the schema that editors are given.
 *
 * @module
 */
import { configJsonSchema, type SchemaNode } from "../../../cluster/config/json_schema.ts";

/** Markdown: a heading for each section of the file, and its keys. @throws if a key has no description */
export function configKeys(): string {
  const { properties = {} } = configJsonSchema();
  const line = (path: string, node: SchemaNode): string[] => {
    if (node.properties !== undefined) {
      const intro = node.description === undefined ? [] : [`- **\`${path}\`**: ${sentence(node.description)}`];
      return [...intro, ...Object.entries(node.properties).flatMap(([key, child]) => line(`${path}.${key}`, child))];
    }
    // A section that may be null is a section.
    const section = node.anyOf?.find(({ properties }) => properties !== undefined);
    if (section !== undefined) return line(path, { ...section, description: node.description });
    if (node.description === undefined) throw new Error(`${path} has no description in cluster/config/config.ts`);
    // A list is in its description, if there is more to say of it than that it is empty.
    const standard = node.default === undefined || typeof node.default === "object" ? "" : `, default \`${node.default}\``;
    const item = `- **\`${path}\`** (${typeOf(node)}${standard}): ${sentence(node.description)}`;
    const ofList = Object.entries(node.items?.properties ?? {}).flatMap(([key, child]) => line(`${path}[].${key}`, child));
    // What is said of one of several is said of the one there is, too.
    const named = typeof node.additionalProperties === "object" ? Object.entries(node.additionalProperties.properties ?? {}) : [];
    const ofNamed = named.filter(([key]) => !(key in properties)).flatMap(([key, child]) => line(`${path}.NAME.${key}`, child));
    return [item, ...ofList, ...ofNamed];
  };
  const sections = Object.entries(properties);
  const own = sections.filter(([, { properties }]) => properties === undefined).flatMap(([key, node]) => line(key, node));
  const parts = sections.filter(([, { properties }]) => properties !== undefined)
    .map(([key, { description = "", ...node }]) => `### \`${key}\`\n\n${sentence(description)}\n\n${line(key, node).join("\n")}`);
  return [`### Top level\n\n${own.join("\n")}`, ...parts].join("\n\n");
}

function typeOf(node: SchemaNode): string {
  if (typeof node.additionalProperties === "object") return "sections by name";
  if (node.anyOf !== undefined) return node.anyOf.map(typeOf).join(", or ");
  if (node.const !== undefined) return `\`${node.const}\``;
  if (node.enum !== undefined) return node.enum.map((value) => `\`${value}\``).join(", ");
  if (node.type === "array") return node.items?.properties === undefined ? `list of ${typeOf(node.items!)}` : "list";
  if (node.type === "boolean") return "true or false";
  if (node.type === "integer" || node.type === "number") return `${node.type === "integer" ? "whole number" : "number"}${rangeOf(node)}`;
  return node.format === "uri" ? "URL" : "text";
}

function rangeOf({ minimum, exclusiveMinimum, maximum }: SchemaNode): string {
  const bounded = maximum === undefined || maximum >= Number.MAX_SAFE_INTEGER ? null : maximum;
  const most = bounded === null ? "" : ` to ${bounded}`;
  if (exclusiveMinimum !== undefined) return `, above ${exclusiveMinimum}${bounded === null ? "" : ` and up to ${bounded}`}`;
  return minimum === undefined || minimum <= Number.MIN_SAFE_INTEGER ? "" : `, ${minimum}${most === "" ? " or more" : most}`;
}

/** With a capital, unless it begins with a name, and a full stop. */
export function sentence(text: string): string {
  const named = /^\w+:|^auto takes/.test(text) ? text : text[0].toUpperCase() + text.slice(1);
  return /[.!?]$/.test(named) ? named : `${named}.`;
}
