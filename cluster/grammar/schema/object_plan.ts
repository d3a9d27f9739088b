/**
 * Which properties an object may have: those that are named, in the order in which the schema names them, then others.
 *
 * @module
 */
import { type Expr, NOTHING } from "../automaton/expressions.ts";
import type { Demand } from "./demand.ts";
import type { SchemaNode } from "./document.ts";
import { type Place, quoted } from "./place.ts";
import type { ObjectRules } from "./shape.ts";
import { UnsupportedSchema } from "./unsupported_schema.ts";

/** A property by its name. */
export interface NamedProperty {
  readonly name: string;
  readonly required: boolean;
  readonly demand: Demand;
}

/** Properties by what their names have to look like; their names are none of the named ones. */
export interface OtherProperties {
  /** Between quotes. */
  readonly name: Expr;
  readonly demand: Demand;
}

export interface ObjectPlan {
  readonly named: readonly NamedProperty[];
  readonly others: readonly OtherProperties[];
  readonly min: number;
  readonly max: number;
  readonly place: Place;
}

/** What planning needs to know. */
export interface PlanQuestions {
  /** Whether objects that name properties have no others unless their schema says so. */
  readonly strict: boolean;
  demand(nodes: readonly SchemaNode[]): Demand;
  /** Names in which a pattern is certainly found, or certainly not. */
  pattern(source: string, found: boolean): Expr;
  /** Exactly this text. */
  text(text: string): Expr;
  /** Texts that fit all of several schemas. */
  texts(nodes: readonly SchemaNode[]): Expr;
  fits(content: Expr, text: string): boolean;
  /** What fits all of these; nothing if that is none. */
  intersection(parts: readonly Expr[]): Expr;
  union(parts: readonly Expr[]): Expr;
  complement(content: Expr): Expr;
  readonly anyText: Expr;
}

/** Properties that one object may name. */
const MOST_PROPERTIES = 4096;
/** Patterns of names that may overlap. */
const MOST_PATTERNS = 6;

/** @returns null if a property is required that cannot be had. @throws {UnsupportedSchema} */
export function planObject(rules: ObjectRules, questions: PlanQuestions): ObjectPlan | null {
  const names = new Set([...rules.layers.flatMap(({ properties }) => [...properties.keys()]), ...rules.required]);
  if (names.size > MOST_PROPERTIES) throw new UnsupportedSchema("properties", rules.place, `names more than ${MOST_PROPERTIES}`);
  const allowed = rules.names.length === 0 ? questions.anyText : questions.texts(rules.names);
  const mayBe = (name: string) => rules.names.length === 0 || questions.fits(allowed, name);
  const matches = (source: string, name: string) => {
    const found = questions.fits(questions.pattern(source, true), name);
    if (found || questions.fits(questions.pattern(source, false), name)) return found;
    throw new UnsupportedSchema(
      "patternProperties",
      rules.place,
      `has ${quoted(source)}, of which it is not known whether it is found in ${quoted(name)}`,
    );
  };
  const named: NamedProperty[] = [];
  for (const name of names) {
    const required = rules.required.has(name);
    const nodes = mayBe(name) ? nodesOf(rules, (source) => matches(source, name), name, questions.strict) : null;
    if (nodes !== null) named.push({ name, required, demand: questions.demand(nodes) });
    else if (required) return null;
  }
  return { named, others: othersOf(rules, names, allowed, questions), min: rules.min, max: rules.max, place: rules.place };
}

/**
 * What a property has to fit; null if it may not be.
 *
 * @param matches whether a pattern is found in its name
 * @param name undefined: none of those that are named
 */
function nodesOf(rules: ObjectRules, matches: (source: string) => boolean, name: string | undefined, strict: boolean): SchemaNode[] | null {
  const nodes: SchemaNode[] = [];
  let mentioned = false;
  for (const { properties, patterns, others } of rules.layers) {
    const own = name === undefined ? undefined : properties.get(name);
    const matched = patterns.filter(({ source }) => matches(source)).map(({ node }) => node);
    if (own !== undefined) nodes.push(own);
    nodes.push(...matched);
    const other = own === undefined && matched.length === 0 ? others : null;
    if (other !== null) nodes.push(other);
    mentioned ||= own !== undefined || matched.length > 0 || other !== null;
  }
  const closed = strict && !mentioned && rules.layers.some(({ properties, patterns }) => properties.size > 0 || patterns.length > 0);
  return (closed && name === undefined) || nodes.some(({ schema }) => schema === false) ? null : nodes;
}

/** Names that no schema names, by the patterns that are found in them. */
function othersOf(rules: ObjectRules, names: ReadonlySet<string>, allowed: Expr, questions: PlanQuestions): OtherProperties[] {
  const sources = [...new Set(rules.layers.flatMap(({ patterns }) => patterns.map(({ source }) => source)))];
  if (sources.length > MOST_PATTERNS) throw new UnsupportedSchema("patternProperties", rules.place, `has more than ${MOST_PATTERNS} patterns`);
  const unnamed = questions.complement(questions.union([...names].map((name) => questions.text(name))));
  const others: OtherProperties[] = [];
  for (let found = 0; found < 2 ** sources.length; found++) {
    const matches = (source: string) => ((found >> sources.indexOf(source)) & 1) === 1;
    const nodes = nodesOf(rules, matches, undefined, questions.strict);
    if (nodes === null) continue;
    const patterns = sources.map((source) => questions.pattern(source, matches(source)));
    const name = questions.intersection([questions.anyText, allowed, unnamed, ...patterns]);
    if (name !== NOTHING) others.push({ name, demand: questions.demand(nodes) });
  }
  return others;
}
