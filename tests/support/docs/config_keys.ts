/**
 * Every key of the cluster file as a list for people, from the schema that files are checked with.
 *
 * @module
 */
import { z } from "zod";
import { configSchema } from "../../../cluster/config/config.ts";
import { resolveSettings, type Settings } from "../../../cluster/config/settings.ts";

/** The part of JSON Schema that zod writes of our schema. */
interface Node {
  readonly description?: string;
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly string[];
  readonly anyOf?: readonly Node[];
  readonly items?: Node;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly format?: string;
}

/** Where the resolved settings keep what a key says. Keys that are not here say in their description what holds without them, or nothing does. */
const DEFAULTS: Readonly<Record<string, (settings: Settings) => unknown>> = {
  "device": ({ device }) => device,
  "weights": ({ weights }) => weights,
  "decode.ranks": ({ decode }) => decode.scheme.ranks,
  "decode.attention": ({ decode }) => decode.scheme.attention,
  "decode.basis": ({ decode }) => decode.scheme.basis,
  "decode.lambda": ({ decode }) => decode.scheme.lambda,
  "decode.halo": ({ decode }) => decode.scheme.halo ?? "auto",
  "decode.mu": ({ decode }) => decode.scheme.mu,
  "decode.paper": ({ decode }) => decode.scheme.paper,
  "decode.wire": ({ decode }) => decode.wire,
  "decode.exchange": ({ decode }) => decode.exchange,
  "decode.feedForward": ({ decode }) => decode.feedForward,
  "decode.deadlineMs": ({ decode }) => decode.deadlineMs,
  "decode.groups": ({ decode }) => decode.groups,
  "decode.pingPong": ({ decode }) => decode.pingPong,
  "decode.maxBatch": ({ decode }) => decode.maxBatch,
  "decode.speculate": ({ decode }) => decode.speculate,
  "prefill.workers": ({ prefill }) => prefill.workers,
  "prefill.ranks": ({ prefill }) => prefill.ranks,
  "mixed.workers": ({ mixed }) => mixed.workers,
  "mixed.ranks": ({ mixed }) => mixed.ranks,
  "server.host": ({ host }) => host,
  "server.port": ({ port }) => port,
  "server.maxWaiting": ({ maxWaiting }) => maxWaiting,
  "server.shutdownTimeout": ({ shutdownTimeout }) => shutdownTimeout,
  "cluster.strict": ({ cluster }) => cluster.strict,
  "cluster.insecure": () => false,
};

/** Markdown: a heading for each section of the file, and its keys. @throws if a key has no description */
export function configKeys(): string {
  const settings = resolveSettings({}, {}, () => undefined);
  const seen = new Set<string>();
  const line = (path: string, node: Node): string[] => {
    if (node.properties !== undefined) {
      const intro = node.description === undefined ? [] : [`- **\`${path}\`**: ${sentence(node.description)}`];
      return [...intro, ...Object.entries(node.properties).flatMap(([key, child]) => line(`${path}.${key}`, child))];
    }
    // A section that may be null is a section.
    const section = node.anyOf?.find(({ properties }) => properties !== undefined);
    if (section !== undefined) return line(path, section);
    if (node.description === undefined) throw new Error(`${path} has no description in cluster/config/config.ts`);
    seen.add(path);
    const standard = DEFAULTS[path] === undefined ? "" : `, default \`${DEFAULTS[path](settings)}\``;
    const item = `- **\`${path}\`** (${typeOf(node)}${standard}): ${sentence(node.description)}`;
    const entries = node.items?.properties === undefined
      ? []
      : Object.entries(node.items.properties).flatMap(([key, child]) => line(`${path}[].${key}`, child));
    return [item, ...entries];
  };
  const { properties = {} } = z.toJSONSchema(configSchema) as Node;
  const sections = Object.entries(properties);
  const own = sections.filter(([, { properties }]) => properties === undefined).flatMap(([key, node]) => line(key, node));
  const parts = sections.filter(([, { properties }]) => properties !== undefined)
    .map(([key, node]) => `### \`${key}\`\n\n${line(key, node).join("\n")}`);
  const stray = Object.keys(DEFAULTS).find((path) => !seen.has(path));
  if (stray !== undefined) throw new Error(`${stray} is no key of the schema`);
  return [`### Top level\n\n${own.join("\n")}`, ...parts].join("\n\n");
}

function typeOf(node: Node): string {
  if (node.anyOf !== undefined) return node.anyOf.map(typeOf).join(", or ");
  if (node.const !== undefined) return `\`${node.const}\``;
  if (node.enum !== undefined) return node.enum.map((value) => `\`${value}\``).join(", ");
  if (node.type === "array") return node.items?.properties === undefined ? `list of ${typeOf(node.items!)}` : "list";
  if (node.type === "boolean") return "true or false";
  if (node.type === "integer" || node.type === "number") return `${node.type === "integer" ? "whole number" : "number"}${rangeOf(node)}`;
  return node.format === "uri" ? "URL" : "text";
}

function rangeOf({ minimum, exclusiveMinimum, maximum }: Node): string {
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
