/**
 * The JSON Schema of the cluster file, as editors show it: every setting has a title, says what it is, and what holds without it.
 *
 * @module
 */
import { z } from "zod";
import { BLOCK_TOKENS } from "../../core/cache/blocks.ts";
import { configSchema } from "./config.ts";
import { IDLE_SECONDS } from "./several_models.ts";
import { resolveSettings, type Settings } from "./settings.ts";

/** The part of JSON Schema that zod writes of our schema. */
export interface SchemaNode {
  readonly title?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly string[];
  readonly anyOf?: readonly SchemaNode[];
  readonly items?: SchemaNode;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  /** Of what users name. */
  readonly additionalProperties?: SchemaNode | boolean;
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
  "server.idleSeconds": () => IDLE_SECONDS,
  "server.shutdownTimeout": ({ shutdownTimeout }) => shutdownTimeout,
  "server.maxWaitingPerKey": ({ maxWaitingPerKey }) => maxWaitingPerKey,
  "server.allowedOrigins": ({ allowedOrigins }) => allowedOrigins,
  "server.allowedHosts": ({ allowedHosts }) => allowedHosts,
  "cache.blockTokens": () => BLOCK_TOKENS,
  "cluster.strict": ({ cluster }) => cluster.strict,
  "cluster.insecure": () => false,
};

/** The schema. */
export function configJsonSchema(): SchemaNode {
  const settings = resolveSettings({}, {}, () => undefined);
  const seen = new Set<string>();
  const described = (node: SchemaNode, path: string): SchemaNode => {
    seen.add(path);
    const { properties, items, anyOf, additionalProperties: named } = node;
    const children = (of: Readonly<Record<string, SchemaNode>>) =>
      Object.fromEntries(Object.entries(of).map(([key, child]) => [key, described(child, path === "" ? key : `${path}.${key}`)]));
    return {
      title: path === "" ? "Latentmesh cluster file" : titleOf(path.split(".").at(-1)!),
      ...node,
      ...path in DEFAULTS ? { default: DEFAULTS[path](settings) } : {},
      ...properties === undefined ? {} : { properties: children(properties) },
      ...items?.properties === undefined ? {} : { items: { ...items, properties: children(items.properties) } },
      ...typeof named !== "object" ? {} : { additionalProperties: { title: "Model", ...named, properties: children(named.properties ?? {}) } },
      // A section that may be null is a section.
      ...anyOf === undefined
        ? {}
        : { anyOf: anyOf.map((one) => one.properties === undefined ? one : { ...one, properties: children(one.properties) }) },
    };
  };
  const schema = described(z.toJSONSchema(configSchema) as SchemaNode, "");
  const stray = Object.keys(DEFAULTS).find((path) => !seen.has(path));
  if (stray !== undefined) throw new Error(`${stray} is no key of the schema`);
  return schema;
}

/** `Max step ms` of `maxStepMs`. */
function titleOf(key: string): string {
  const words = key.replace(/^\$/, "").replace(/([a-z])([A-Z])/g, (_, end, begin) => `${end} ${begin.toLowerCase()}`);
  return words[0].toUpperCase() + words.slice(1);
}
