/**
 * How objects are written: as JSON, or, at the top of a call's arguments, one property after the other in a model's own form.
 *
 * @module
 */
import type { KeyedForm } from "../../../core/text/answers/answer_grammar.ts";
import { byteSet } from "../automaton/byte_sets.ts";
import { ANYTHING, type Expr } from "../automaton/expressions.ts";
import type { Demand } from "./demand.ts";
import type { Writers } from "./writers.ts";

/** The parts that an object is written with. */
export interface ObjectSyntax {
  readonly open: Expr;
  /** Before a property: the first, or another. */
  before(first: boolean): Expr;
  /** A name that is known. */
  named(name: string): Expr;
  /** A name of those that fit an expression, in the form that it has between quotes. */
  other(name: Expr): Expr;
  /** Between a name and its value. */
  readonly between: Expr;
  value(demand: Demand): Expr;
  readonly after: Expr;
  readonly close: Expr;
}

/** JSON. */
export function jsonSyntax({ expressions: x, json }: Writers, value: (demand: Demand) => Expr): ObjectSyntax {
  return {
    open: x.literal("{"),
    before: (first) => first ? json.gap : x.sequence([x.literal(","), json.gap]),
    named: (name) => x.literal(JSON.stringify(name)),
    other: (name) => json.quoted(name),
    between: json.colon,
    value,
    after: x.literal(""),
    close: x.sequence([json.gap, x.literal("}")]),
  };
}

/** One property after the other. @param value as the form has it, without what is around it */
export function keyedSyntax({ expressions: x }: Writers, form: KeyedForm, value: (demand: Demand) => Expr): ObjectSyntax {
  const { key, between, value: around, after, separator } = form;
  const letters: [number, number][] = [[0x41, 0x5a], [0x5f, 0x5f], [0x61, 0x7a]];
  const plainName = key[0] === ""
    ? x.sequence([x.bytes(byteSet(...letters)), x.repeat(x.bytes(byteSet(...letters, [0x30, 0x39])), 0, Infinity)])
    // Without what is escaped between quotes, or begins a tag.
    : x.sequence([
      x.bytes(byteSet([0, 0x3b], [0x3d, 0x5b], [0x5d, 0xff])),
      x.complement(x.sequence([ANYTHING, x.bytes(byteSet([0x3c, 0x3c], [0x5c, 0x5c])), ANYTHING])),
    ]);
  return {
    open: x.literal(""),
    before: (first) => x.literal(first ? "" : separator),
    named: (name) => x.literal(`${key[0]}${name}${key[1]}`),
    other: (name) => x.sequence([x.literal(key[0]), x.intersection([name, plainName]), x.literal(key[1])]),
    between: x.literal(`${between}${around[0]}`),
    value,
    after: x.literal(`${around[1]}${after}`),
    close: x.literal(""),
  };
}
