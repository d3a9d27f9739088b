/**
 * Values between tags, where strings stand as they are and everything else is JSON.
 *
 * @module
 */
import { ANYTHING, type Expr, NOTHING } from "../automaton/expressions.ts";
import type { Demand } from "./demand.ts";
import { ROOT } from "./place.ts";
import { type Shape, Type, typeOf } from "./shape.ts";
import { UnsupportedSchema } from "./unsupported_schema.ts";
import type { Writers } from "./writers.ts";

/** What writing needs to know of schemas. */
export interface ValueShapes {
  shapes(demand: Demand): readonly Shape[];
  /** What a shape allows, as JSON. */
  json(shape: Shape): Expr;
  /** What strings of a shape hold. */
  content(shape: Shape, form: Pick<Writers, "characters" | "patterns">): Expr;
}

/** Writes such values. */
export class BareValues {
  readonly #writers: Writers;
  readonly #end: string;
  /** Texts in which the end of a value does not come. */
  readonly #unended: Expr;
  readonly #written = new Map<Demand, Expr>();

  /** @param end the tag behind a value */
  constructor(end: string, writers: Writers) {
    const { expressions: x } = writers;
    this.#writers = writers;
    this.#end = end;
    this.#unended = x.complement(x.sequence([ANYTHING, x.literal(end), ANYTHING]));
  }

  /** What fits a demand. */
  value(demand: Demand, schema: ValueShapes): Expr {
    let written = this.#written.get(demand);
    if (written === undefined) {
      written = this.#writers.expressions.union(schema.shapes(demand).map((shape) => this.#shape(shape, schema)));
      if (written === NOTHING) {
        throw new UnsupportedSchema(
          null,
          demand.nodes[0]?.place ?? ROOT,
          `has only values that hold ${JSON.stringify(this.#end)}, with which this model ends them`,
        );
      }
      this.#written.set(demand, written);
    }
    return written;
  }

  #shape(shape: Shape, schema: ValueShapes): Expr {
    const { expressions: x, derivation, bare } = this.#writers;
    const text = schema.content(shape, bare);
    const others = shape.types & ~Type.string;
    const values = shape.values?.filter((value) => typeOf(value) !== Type.string) ?? null;
    const other = others === 0 || values?.length === 0 ? NOTHING : schema.json({ ...shape, types: others, values });
    return x.union([text === NOTHING ? NOTHING : derivation.pruned(x.intersection([text, this.#unended])), other]);
  }
}
