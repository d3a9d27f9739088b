/**
 * JSON schemas as expressions: what comes out fits, for any validator.
 *
 * First every part that can matter is looked at, so that what is not supported is known at once; then it is found out which parts anything fits at all; only then
 * expressions are written, and those of objects and arrays not before they are needed.
 *
 * @module
 */
import { inTurns, Unfinished } from "../automaton/derivation.ts";
import { type Expr, NOTHING, TooComplex } from "../automaton/expressions.ts";
import { canonical, type Json } from "../text/json_text.ts";
import { isEmptyRange } from "../text/numbers.ts";
import type { Writers } from "./writers.ts";
import type { KeyedForm } from "../../../core/text/answers/answer_grammar.ts";
import { BareValues } from "./bare_values.ts";
import { type ArrayPlan, planArray } from "./array_plan.ts";
import { writeArray } from "./array_writer.ts";
import { type Demand, Demands } from "./demand.ts";
import { SchemaDocument } from "./document.ts";
import { type ObjectPlan, planObject } from "./object_plan.ts";
import { keyedSyntax } from "./object_syntax.ts";
import { writeObject } from "./object_writer.ts";
import { ROOT } from "./place.ts";
import { fitsRules, type ValueQuestions } from "./schema_values.ts";
import { both, type Shape, Type, typeOf } from "./shape.ts";
import { Shapes } from "./shapes.ts";
import { UnsupportedSchema } from "./unsupported_schema.ts";

/** Sets of schemas that one document may come to. */
const MOST_DEMANDS = 20_000;
/** Visits of expressions that one schema may take: a second or so. */
const MOST_WORK = 1 << 21;
/** Levels that are looked into to see that nothing fits two schemas, and what each look counts for. */
const APART_DEPTH = 4;
const APART_WORK = 64;

/** Options of {@link compileSchema}. */
export interface SchemaOptions {
  /** Objects that name properties have no others unless their schema says so. */
  readonly strict: boolean;
  /** Only objects may come. */
  readonly objectOnly: boolean;
  /** How the object is written; undefined: as JSON. */
  readonly keyed?: KeyedForm;
}

/**
 * The expression of what fits a schema. It yields now and then, so that others get their turn.
 *
 * @throws {UnsupportedSchema} what is not supported, and where
 */
export function* compileSchema(schema: unknown, writers: Writers, options: SchemaOptions): Generator<void, Expr> {
  return yield* new SchemaCompiler(schema, writers, options).compile();
}

class SchemaCompiler implements ValueQuestions {
  readonly writers: Writers;
  readonly #options: SchemaOptions;
  readonly #document: SchemaDocument;
  readonly #demands = new Demands();
  readonly #shapes: Shapes;
  readonly #objects = new Map<Shape, ObjectPlan | null>();
  readonly #arrays = new Map<Shape, ArrayPlan>();
  readonly #scalars = new Map<Shape, Expr>();
  /** Demands that something fits. */
  readonly #possible = new Set<Demand>();
  readonly #written = new Map<Demand, Expr>();
  /** Work that had been done before. */
  readonly #begun: number;

  constructor(schema: unknown, writers: Writers, options: SchemaOptions) {
    this.writers = writers;
    this.#options = options;
    this.#begun = writers.derivation.work;
    this.#document = new SchemaDocument(schema);
    this.#shapes = new Shapes(this.#document, {
      isDecided: (source) => writers.patterns.isDecided(source),
      disjoint: (a, b) => this.#disjoint(a, b),
      kinds: (shape) => this.#kindsOf(shape),
    });
  }

  *compile(): Generator<void, Expr> {
    const { root } = this.#document;
    const object = this.#document.node({ type: "object" }, root.place, root.resource);
    const demand = this.#demands.of(this.#options.objectOnly ? [root, object] : [root]);
    const reached = yield* this.#explore(demand);
    yield* this.#findPossible(reached);
    if (!this.#possible.has(demand)) throw new UnsupportedSchema(null, ROOT, "cannot be fitted by any value");
    const { keyed } = this.#options;
    return yield* inTurns(() => keyed === undefined ? this.value(demand) : this.#keyed(demand, keyed));
  }

  /** Properties one by one. */
  #keyed(demand: Demand, form: KeyedForm): Expr {
    const bare = new BareValues(form.value[1], this.writers);
    const value = (part: Demand) => form.texts === "json" ? this.value(part) : bare.value(part, this);
    const syntax = keyedSyntax(this.writers, form, value);
    const plans = this.shapes(demand).map((shape) => this.object(shape));
    // At once, so that what cannot be written is known before anything is.
    for (const plan of plans) for (const part of plan?.named ?? []) if (this.possible(part.demand)) value(part.demand);
    return this.writers.expressions.union(plans.map((plan) => writeObject(plan, this, syntax)));
  }

  shapes(demand: Demand): readonly Shape[] {
    return this.#shapes.of(demand);
  }

  object(shape: Shape): ObjectPlan | null {
    let plan = this.#objects.get(shape);
    if (plan === undefined) {
      const { patterns, characters, expressions, derivation } = this.writers;
      plan = planObject(shape.object, {
        strict: this.#options.strict,
        anyText: patterns.anyText,
        demand: (nodes) => this.#demands.of(nodes),
        pattern: (source, found) => found ? patterns.containing(source) : patterns.lacking(source),
        text: (text) => characters.text(text),
        texts: (nodes) => expressions.union(this.shapes(this.#demands.of(nodes)).map((shape) => this.#content(shape))),
        fits: (content, text) => this.writers.fits(content, text),
        intersection: (parts) => derivation.pruned(expressions.intersection(parts)),
        union: (parts) => expressions.union(parts),
        complement: (content) => expressions.complement(content),
      });
      this.#objects.set(shape, plan);
    }
    return plan;
  }

  array(shape: Shape): ArrayPlan {
    let plan = this.#arrays.get(shape);
    if (plan === undefined) {
      plan = planArray(shape.array, (nodes) => this.#demands.of(nodes), (demand) => this.#listed(demand));
      this.#arrays.set(shape, plan);
    }
    return plan;
  }

  /** Everything that a demand leads to. */
  *#explore(demand: Demand): Generator<void, Demand[]> {
    const reached = new Set([demand]);
    for (const next of reached) {
      if (reached.size > MOST_DEMANDS) {
        throw new UnsupportedSchema(null, next.nodes[0]?.place ?? ROOT, `comes to more than ${MOST_DEMANDS} combinations of schemas`);
      }
      const parts = yield* this.#at(next, () => this.shapes(next).flatMap((shape) => this.#partsOf(shape)));
      for (const part of parts) reached.add(part);
      yield;
    }
    return [...reached];
  }

  /** Does something about a demand; if that takes too long, it is refused by its place. */
  *#at<T>({ nodes }: Demand, action: () => T): Generator<void, T> {
    const complex = (why: string) => new UnsupportedSchema(null, nodes[0]?.place ?? ROOT, `is too complex: ${why}`);
    while (true) {
      if (this.writers.derivation.work - this.#begun > MOST_WORK) throw complex("it takes too long");
      try {
        return action();
      } catch (error) {
        if (error instanceof TooComplex) throw complex(error.message);
        if (!(error instanceof Unfinished)) throw error;
      }
      yield;
    }
  }

  /** Demands of a shape's parts. */
  #partsOf(shape: Shape): Demand[] {
    if (shape.values !== null) return [];
    const structured = shape.excluded.find(({ value }) => (typeOf(value) & shape.types & (Type.array | Type.object)) !== 0);
    if (structured !== undefined) throw new UnsupportedSchema("not", structured.place, "names arrays or objects, which cannot be kept from coming");
    const parts: Demand[] = [];
    if ((shape.types & Type.array) !== 0 && shape.array.max > 0) {
      const { first, rest } = this.array(shape);
      for (const { any, counted } of [...first, rest]) parts.push(any, ...(counted === null ? [] : [counted]));
    }
    if ((shape.types & Type.object) !== 0) {
      const plan = this.object(shape);
      if (plan !== null) parts.push(...plan.named.map(({ demand }) => demand), ...plan.others.map(({ demand }) => demand));
    }
    return parts;
  }

  /** The least set of demands that values fit whose parts fit. */
  *#findPossible(reached: readonly Demand[]): Generator<void, void> {
    let open = reached.toReversed();
    for (let before = -1; before !== this.#possible.size;) {
      before = this.#possible.size;
      const left: Demand[] = [];
      for (const demand of open) {
        const possible = yield* this.#at(demand, () => this.shapes(demand).some((shape) => this.#isPossible(shape)));
        if (possible) this.#possible.add(demand);
        else left.push(demand);
        yield;
      }
      open = left;
    }
  }

  #isPossible(shape: Shape): boolean {
    if (this.#scalar(shape) !== NOTHING) return true;
    if (shape.values !== null) return false;
    return ((shape.types & Type.array) !== 0 && writeArray(this.array(shape), this) !== NOTHING) ||
      ((shape.types & Type.object) !== 0 && writeObject(this.object(shape), this) !== NOTHING);
  }

  /** Whether anything fits. */
  possible(demand: Demand): boolean {
    return this.#possible.has(demand);
  }

  /** What fits a demand that something fits. */
  value(demand: Demand): Expr {
    let written = this.#written.get(demand);
    if (written === undefined) {
      const { expressions } = this.writers;
      const shapes = this.shapes(demand);
      const structured = shapes.some(({ values, types }) => values === null && (types & (Type.array | Type.object)) !== 0);
      const write = () => expressions.union(shapes.map((shape) => this.#write(shape)));
      written = structured ? expressions.rule(false, write) : write();
      this.#written.set(demand, written);
    }
    return written;
  }

  /** What a shape allows, as JSON. */
  json(shape: Shape): Expr {
    return this.#write(shape);
  }

  #write(shape: Shape): Expr {
    const parts = [this.#scalar(shape)];
    if (shape.values === null) {
      if ((shape.types & Type.array) !== 0) parts.push(writeArray(this.array(shape), this));
      if ((shape.types & Type.object) !== 0) parts.push(writeObject(this.object(shape), this));
    }
    return this.writers.expressions.union(parts);
  }

  /** What a shape allows but for arrays and objects, or all its values if they are listed. */
  #scalar(shape: Shape): Expr {
    let written = this.#scalars.get(shape);
    if (written === undefined) this.#scalars.set(shape, written = this.#writeScalar(shape));
    return written;
  }

  #writeScalar(shape: Shape): Expr {
    const { expressions: x, json, numbers } = this.writers;
    if (shape.values !== null) {
      return x.union(shape.values.filter((value) => fitsRules(value, shape, this)).map((value) => json.value(value)));
    }
    const fixed = [null, false, true].filter((value) => fitsRules(value, shape, this)).map((value) => json.value(value));
    const number = (shape.types & Type.number) === 0 ? NOTHING : numbers.of(shape.number);
    return x.union([...fixed, number, json.quoted(this.#content(shape))]);
  }

  /** What strings of a shape hold between their quotes. */
  #content(shape: Shape): Expr {
    return this.content(shape, this.writers);
  }

  /** What strings of a shape hold, in the form that writers give characters. */
  content({ types, values, excluded, text: { min, max, patterns } }: Shape, form: Pick<Writers, "characters" | "patterns">): Expr {
    if ((types & Type.string) === 0) return NOTHING;
    const { characters, patterns: written } = form;
    const { expressions: x, derivation } = this.writers;
    const texts = (list: readonly Json[]) => x.union(list.filter((value) => typeof value === "string").map((value) => characters.text(value)));
    const rules = patterns.map(({ source, negated }) => negated ? written.lacking(source) : written.containing(source));
    const without = excluded.map(({ value }) => x.complement(texts([value])));
    const only = values === null ? [] : [texts(values)];
    return derivation.pruned(x.intersection([x.repeat(characters.any, min, max), ...rules, ...without, ...only]));
  }

  /** All values that fit a demand; null if they cannot be listed. */
  #listed(demand: Demand): readonly Json[] | null {
    const listed: Json[] = [];
    for (const shape of this.shapes(demand)) {
      if (shape.values === null && (shape.types & ~(Type.boolean | Type.null)) !== 0) return null;
      listed.push(...(shape.values ?? [null, false, true]).filter((value) => fitsRules(value, shape, this)));
    }
    return listed;
  }

  /** What a value may be (under ""), or required properties of an object (under "/name"), where that can be listed: it tells one from another. */
  #kindsOf(shape: Shape): ReadonlyMap<string, ReadonlySet<string>> {
    const kinds = new Map<string, ReadonlySet<string>>();
    if (shape.values !== null) kinds.set("", new Set(shape.values.map(canonical)));
    if (shape.types !== Type.object || shape.values !== null) return kinds;
    for (const { name, required, demand } of this.object(shape)?.named ?? []) {
      if (!required) continue;
      const values = this.#certainShapes(demand)?.map(({ values }) => values);
      if (values?.every((list) => list !== null) && this.#shapes.isListed(demand)) kinds.set(`/${name}`, new Set(values.flat().map(canonical)));
    }
    return kinds;
  }

  /** The shapes of a demand; null where a schema speaks of itself and is still being looked at. */
  #certainShapes(demand: Demand): readonly Shape[] | null {
    try {
      return this.shapes(demand);
    } catch (error) {
      if (error instanceof UnsupportedSchema) return null;
      throw error;
    }
  }

  /** Whether certainly nothing fits both shapes. */
  #disjoint(a: Shape, b: Shape): boolean {
    const shape = both(a, b);
    return shape === null || this.#isEmpty(shape, APART_DEPTH);
  }

  #isEmpty(shape: Shape, depth: number): boolean {
    if ((this.writers.derivation.work += APART_WORK) - this.#begun > MOST_WORK) throw new TooComplex("it takes too long to tell alternatives apart");
    if (shape.values !== null) return this.#scalar(shape) === NOTHING;
    const simple = shape.types & ~(Type.array | Type.object | Type.number);
    if (this.#scalar({ ...shape, types: simple }) !== NOTHING) return false;
    if ((shape.types & Type.number) !== 0 && !isEmptyRange(shape.number)) return false;
    if ((shape.types & Type.array) !== 0 && shape.array.min <= shape.array.max) return false;
    if ((shape.types & Type.object) === 0) return true;
    const plan = this.object(shape);
    return plan === null || plan.named.some(({ required, demand }) => required && this.#isUnfittable(demand, depth - 1));
  }

  #isUnfittable(demand: Demand, depth: number): boolean {
    const shapes = depth === 0 ? null : this.#certainShapes(demand);
    return shapes !== null && this.#shapes.isExact(demand) && shapes.every((shape) => this.#isEmpty(shape, depth));
  }
}
