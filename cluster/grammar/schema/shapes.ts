/**
 * Schemas as lists of shapes: references followed, and `allOf`, `anyOf`, `oneOf`, `not`, conditions and dependencies multiplied out.
 *
 * @module
 */
import { TooComplex } from "../automaton/expressions.ts";
import type { Demand } from "./demand.ts";
import type { SchemaDocument, SchemaNode } from "./document.ts";
import { Keywords, type PatternCheck } from "./keywords.ts";
import { negatedKeywords } from "./negation.ts";
import { ANY_SHAPE, both, type ObjectLayer, type Shape, Type, withoutEvaluating } from "./shape.ts";
import { UnsupportedSchema } from "./unsupported_schema.ts";

/** Shapes that one schema may come to. */
const MOST_SHAPES = 512;
/** Pairs that are looked at to multiply out alternatives. */
const MOST_PAIRS = 1 << 14;
/** Pairs of shapes of alternatives of which it is found out whether both can fit. */
const MOST_COMPARED = 1 << 11;

/** Levels of references and of what combines schemas. */
const MOST_DEPTH = 512;
/** Times that shapes of a schema may have to be found: a second or so. */
const MOST_ASKED = 1 << 16;

type FoundShapes = Map<SchemaNode, readonly Shape[] | "being found">;

/** Of schemas of which nothing that breaks them is known. */
const UNKNOWN = "asks for what no grammar here can keep from fitting";

/** What is asked of what uses shapes. */
export interface ShapeQuestions {
  readonly isDecided: PatternCheck;
  /** Whether certainly nothing fits both. */
  disjoint(a: Shape, b: Shape): boolean;
  /** Values of what has a shape, or of its required properties, where they can be listed. */
  kinds(shape: Shape): ReadonlyMap<string, ReadonlySet<string>>;
}

/** Finds the shapes of schemas. */
export class Shapes {
  readonly #document: SchemaDocument;
  readonly #questions: ShapeQuestions;
  readonly #ofNodes: FoundShapes = new Map();
  readonly #ofDemands = new Map<Demand, readonly Shape[]>();
  readonly #negated: FoundShapes = new Map();
  /** Schemas, and negations of schemas, that more fits than their shapes say. */
  readonly #narrowed = new Set<SchemaNode>();
  readonly #narrowedNegations = new Set<SchemaNode>();
  /** Schemas of which values that their shapes list may not be all. */
  readonly #unlisted = new Set<SchemaNode>();
  /** Nodes whose shapes are being found, and how often any were asked for. */
  #depth = 0;
  #asked = 0;

  constructor(document: SchemaDocument, questions: ShapeQuestions) {
    this.#document = document;
    this.#questions = questions;
  }

  /** The shapes of which a value has to have one; none: nothing fits. @throws {UnsupportedSchema} */
  of(demand: Demand): readonly Shape[] {
    let shapes = this.#ofDemands.get(demand);
    if (shapes === undefined) {
      shapes = demand.nodes.reduce<readonly Shape[]>((all, node) => product(all, this.#ofNode(node), node), [ANY_SHAPE]);
      this.#ofDemands.set(demand, shapes);
    }
    return shapes;
  }

  /** Whether nothing fits but what the shapes say; otherwise there may be more that does. */
  isExact(demand: Demand): boolean {
    this.of(demand);
    return demand.nodes.every((node) => !this.#narrowed.has(node));
  }

  /** Whether values that the shapes list are all that fit. */
  isListed(demand: Demand): boolean {
    this.of(demand);
    return demand.nodes.every((node) => !this.#unlisted.has(node));
  }

  #ofNode(node: SchemaNode): readonly Shape[] {
    if (typeof node.schema === "boolean") return node.schema ? [ANY_SHAPE] : [];
    return this.#once(this.#ofNodes, node, () => this.#expand(node));
  }

  /** Shapes of what does not fit; not always all. @throws {UnsupportedSchema} if none is known */
  #ofNegation(node: SchemaNode): readonly Shape[] {
    if (typeof node.schema === "boolean") return node.schema ? [] : [ANY_SHAPE];
    return this.#once(this.#negated, node, () => this.#negate(node));
  }

  #expand(node: SchemaNode): readonly Shape[] {
    const own = new Keywords(this.#document, node, this.#questions.isDecided);
    let shapes: readonly Shape[] = [own.shape()];
    const restrict = (more: readonly Shape[]) => shapes = product(shapes, more, node);
    const shapesOf = (part: SchemaNode) => this.#passing(node, part);
    if (own.has("$ref")) restrict(shapesOf(this.#document.resolve(own.get("$ref"), node)));
    for (const part of own.parts("allOf")) restrict(shapesOf(part));
    if (own.has("anyOf")) restrict(limited(own.parts("anyOf").flatMap(shapesOf), node));
    if (own.has("if")) this.#conditions(own).forEach(restrict);
    this.#dependencies(own).forEach(restrict);
    if (own.has("not")) shapes = this.#without(own, "not", shapes, own.part("not"), UNKNOWN);
    // Last, so that as much as possible is known of what the alternatives have in common.
    if (own.has("oneOf")) shapes = this.#oneOf(own, shapes);
    if (own.has("unevaluatedProperties")) shapes = this.#unevaluated(own, shapes);
    if (own.narrowed) this.#narrowed.add(node);
    return shapes;
  }

  /** Shapes of a part that decide about the whole: where they say too little, so do those of the whole. */
  #passing(whole: SchemaNode, part: SchemaNode): readonly Shape[] {
    const shapes = this.#ofNode(part);
    if (this.#narrowed.has(part)) this.#narrowed.add(whole);
    if (this.#unlisted.has(part)) this.#unlisted.add(whole);
    return shapes;
  }

  /** @param shapes of which those are kept that do not fit the schema of a keyword */
  #without(own: Keywords, keyword: string, shapes: readonly Shape[], part: SchemaNode, why: string): readonly Shape[] {
    let negation: readonly Shape[];
    try {
      negation = this.#ofNegation(part);
    } catch (error) {
      if (!(error instanceof UnsupportedSchema)) throw error;
      throw own.unsupported(keyword, why);
    }
    const narrowed = this.#narrowedNegations.has(part);
    if (narrowed) {
      this.#narrowed.add(own.node);
      this.#unlisted.add(own.node);
    }
    const left = product(shapes, negation, own.node);
    if (left.length === 0 && shapes.length > 0 && narrowed) throw own.unsupported(keyword, why);
    return left;
  }

  #conditions(own: Keywords): (readonly Shape[])[] {
    const [condition, then, otherwise] = ["if", "then", "else"].map((keyword) => own.has(keyword) ? own.part(keyword) : null);
    if (then === null && otherwise === null) return [];
    const [thenShapes, elseShapes] = [then, otherwise].map((node) => node === null ? [ANY_SHAPE] : this.#passing(own.node, node));
    const passing = this.#passing(own.node, condition!);
    // To some validators a condition evaluates nothing where nothing is asked of what meets it.
    const met = own.asks("then") ? passing : passing.map(withoutEvaluating);
    return [limited([
      ...product(met, thenShapes, own.node),
      ...this.#without(own, "if", elseShapes, condition!, UNKNOWN),
    ], own.node)];
  }

  #dependencies(own: Keywords): (readonly Shape[])[] {
    return ["dependentRequired", "dependentSchemas", "dependencies"].flatMap((keyword) =>
      own.entries(keyword).map(([name, needed]) => {
        const without = { ...ANY_SHAPE, object: { ...ANY_SHAPE.object, layers: [this.#forbidding(name, own.node)] } };
        const listed = keyword === "dependentRequired" || Array.isArray(needed);
        const required = new Set([name, ...(listed ? own.names(keyword, needed) : [])]);
        const having = { ...ANY_SHAPE, types: Type.object, object: { ...ANY_SHAPE.object, required } };
        return [without, ...product([having], listed ? [ANY_SHAPE] : this.#passing(own.node, own.part(keyword, needed, name)), own.node)];
      })
    );
  }

  #forbidding(name: string, node: SchemaNode): ObjectLayer {
    return { properties: new Map([[name, this.#document.node(false, node.place, node.resource)]]), patterns: [], others: null, evaluates: false };
  }

  /** Where alternatives may overlap, each is held to what the others are not. */
  #oneOf(own: Keywords, common: readonly Shape[]): readonly Shape[] {
    const parts = own.parts("oneOf");
    const alternatives = parts.map((part) => product(common, this.#passing(own.node, part), own.node));
    const kinds = alternatives.map((shapes) => shapes.map((shape) => this.#questions.kinds(shape)));
    let compared = 0;
    const apart = (one: number, other: number) => {
      if (!this.#unlisted.has(parts[other]) && kinds[one].every((a) => kinds[other].every((b) => areDifferent(a, b)))) return true;
      if (this.#narrowed.has(parts[other])) return false;
      compared += alternatives[one].length * alternatives[other].length;
      if (compared > MOST_COMPARED) throw own.unsupported("oneOf", `has too many alternatives that may both fit: use "anyOf"`);
      return alternatives[one].every((a) => alternatives[other].every((b) => this.#questions.disjoint(a, b)));
    };
    return limited(
      alternatives.flatMap((shapes, i) =>
        parts.reduce((left, part, j) => {
          if (i === j || left.length === 0 || apart(i, j)) return left;
          const why = `has alternatives ${Math.min(i, j)} and ${Math.max(i, j)}, which may both fit: use "anyOf"`;
          return this.#without(own, "oneOf", left, part, why);
        }, shapes)
      ),
      own.node,
    );
  }

  /** Properties that no part of a schema that fits speaks of. */
  #unevaluated(own: Keywords, shapes: readonly Shape[]): readonly Shape[] {
    const others = own.part("unevaluatedProperties");
    // What several alternatives together evaluate, none of their shapes may.
    if (typeof others.schema !== "boolean") this.#unlisted.add(own.node);
    return shapes.map((shape) => {
      const layers = shape.object.layers.filter(({ evaluates }) => evaluates);
      if (layers.some((layer) => layer.others !== null)) return shape;
      const known = this.#document.node(true, own.node.place, own.node.resource);
      const layer: ObjectLayer = {
        properties: new Map(layers.flatMap(({ properties }) => [...properties.keys()]).map((name) => [name, known])),
        patterns: layers.flatMap(({ patterns }) => patterns.map(({ source }) => ({ source, node: known }))),
        others,
        evaluates: true,
      };
      return { ...shape, object: { ...shape.object, layers: [...shape.object.layers, layer] } };
    });
  }

  /** What does not fit, keyword by keyword: whatever breaks one of them. */
  #negate(node: SchemaNode): readonly Shape[] {
    const own = new Keywords(this.#document, node, this.#questions.isDecided);
    const negation = negatedKeywords(own, (part) => this.#document.negation(part), (name) => this.#forbidding(name, node));
    const shapes = [...negation.shapes];
    let { exact } = negation;
    const attempt = (find: () => readonly Shape[]) => {
      try {
        shapes.push(...find());
      } catch (error) {
        // What is not known of one keyword may be known of another.
        if (!(error instanceof UnsupportedSchema)) throw error;
        exact = false;
      }
    };
    const negated = (part: SchemaNode) => {
      const found = this.#ofNegation(part);
      exact &&= !this.#narrowedNegations.has(part);
      return found;
    };
    if (own.has("$ref")) attempt(() => negated(this.#document.resolve(own.get("$ref"), node)));
    for (const part of own.parts("allOf")) attempt(() => negated(part));
    for (const keyword of ["anyOf", "oneOf"]) {
      if (!own.has(keyword)) continue;
      attempt(() => own.parts(keyword).reduce<readonly Shape[]>((all, part) => product(all, negated(part), node), [ANY_SHAPE]));
    }
    if (own.has("not")) {
      attempt(() => {
        const found = this.#ofNode(own.part("not"));
        exact &&= !this.#narrowed.has(own.part("not"));
        return found;
      });
    }
    if (shapes.length === 0 && own.asserted().length > 0) {
      throw new UnsupportedSchema("not", node.place, UNKNOWN);
    }
    if (!exact) this.#narrowedNegations.add(node);
    return limited(shapes, node).map(withoutEvaluating);
  }

  /** Finds something for a node once, and notices what would need itself. */
  #once(known: FoundShapes, node: SchemaNode, find: () => readonly Shape[]): readonly Shape[] {
    const found = known.get(node);
    if (found === "being found") throw new UnsupportedSchema("$ref", node.place, "leads back to itself");
    if (found !== undefined) return found;
    if (this.#depth === MOST_DEPTH) throw new TooComplex(`references and what combines schemas are nested more than ${MOST_DEPTH} levels deep`);
    // What fails is not kept, for it may be found out elsewhere: it can be asked for again and again.
    if (++this.#asked > MOST_ASKED) throw new TooComplex("it combines schemas too often");
    known.set(node, "being found");
    this.#depth++;
    try {
      const shapes = find();
      known.set(node, shapes);
      return shapes;
    } catch (error) {
      known.delete(node);
      throw error;
    } finally {
      this.#depth--;
    }
  }
}

/** Whatever fits one of each. */
function product(a: readonly Shape[], b: readonly Shape[], node: SchemaNode): readonly Shape[] {
  if (a.length * b.length > MOST_PAIRS) throw tooMany(node);
  return limited(a.flatMap((x) => b.map((y) => both(x, y)).filter((shape) => shape !== null)), node);
}

function limited(shapes: readonly Shape[], node: SchemaNode): readonly Shape[] {
  if (shapes.length > MOST_SHAPES) throw tooMany(node);
  return shapes;
}

function tooMany({ place }: SchemaNode): UnsupportedSchema {
  return new UnsupportedSchema("anyOf", place, `comes to more than ${MOST_SHAPES} combinations`);
}

/** Whether something that both must have is never the same. */
function areDifferent(a: ReadonlyMap<string, ReadonlySet<string>>, b: ReadonlyMap<string, ReadonlySet<string>>): boolean {
  return a.entries().some(([name, values]) => b.get(name)?.isDisjointFrom(values) ?? false);
}
