/**
 * JavaScript of expressions: numbers are numbers, vectors are arrays of them, and every step is rounded as its type is.
 *
 * @module
 */
import { elementOf, type Scalar, scalar, type Type, withElement } from "./types.ts";

/** An expression. */
export interface Code {
  readonly code: string;
  readonly type: Type;
}

/** A number as it is written. */
export function numberOf(text: string): Code {
  const suffix = /^0x/.test(text) ? /[ui]$/.exec(text)?.[0] : /[uifh]$/.exec(text)?.[0];
  const digits = suffix === undefined ? text : text.slice(0, -1);
  if (suffix === "u") return { code: digits, type: scalar("u32") };
  if (suffix === "i") return { code: digits, type: scalar("i32") };
  if (suffix === "f") return { code: `${Math.fround(Number(digits))}`, type: scalar("f32") };
  return { code: digits, type: scalar(/^0x/.test(text) || !/[.e]/.test(text) ? "int" : "float") };
}

/** What is written without a type gets that of the other operand. */
export function unify(a: Code, b: Code): [Code, Code] {
  const [x, y] = [elementOf(a.type), elementOf(b.type)];
  const rank = (of: Scalar) => of === "int" ? 0 : of === "float" ? 1 : 2;
  const of = rank(x) >= rank(y) ? x : y;
  if (rank(x) === 2 && rank(y) === 2 && x !== y) throw new SyntaxError(`${x} and ${y} do not mix: ${a.code}, ${b.code}`);
  return [{ ...a, type: withElement(a.type, of) }, { ...b, type: withElement(b.type, of) }];
}

/** An element-wise operation; scalars count for every element. */
export function map(values: readonly Code[], type: Type, write: (...names: string[]) => string): Code {
  if (values.every(({ type }) => type.kind !== "vector")) return { code: write(...values.map(({ code }) => `(${code})`)), type };
  const size = (values.find(({ type }) => type.kind === "vector")!.type as { size: number }).size;
  const names = values.map((_, i) => `$${i}`);
  const elements = values.map(({ type }, i) => type.kind === "vector" ? `$${i}[$i]` : `$${i}`);
  const code = `$map${values.length}(${size}, ($i, ${names}) => ${write(...elements)}, ${values.map(({ code }) => code)})`;
  return { code, type: type.kind === "vector" ? type : { kind: "vector", of: elementOf(type), size } };
}

/** A vector of parts. @param of its elements; null: those of the parts */
export function vectorOf(size: number, of: Scalar | null, parts: readonly Code[]): Code {
  const element = of ?? parts.map(({ type }) => elementOf(type)).reduce((a, b) => a === "int" || (a === "float" && b !== "int") ? b : a);
  const type: Type = { kind: "vector", of: element, size };
  const as = (code: string) => rounded(element, code);
  if (parts.length === 0) return { code: `new Array(${size}).fill(0)`, type };
  if (parts.length === 1 && parts[0].type.kind === "scalar") return { code: `new Array(${size}).fill(${as(parts[0].code)})`, type };
  const list = parts.map(({ code, type }) => type.kind === "vector" ? `...(${code})` : as(code));
  return { code: `[${list}]`, type };
}

/** A number as a type of floats has it. */
export function rounded(of: Scalar, code: string): string {
  return of === "f32" ? `Math.fround(${code})` : of === "f16" ? `Math.f16round(${code})` : code;
}

/** One element. */
export function arithmetic(operator: string, of: Scalar, x: string, y: string): string {
  switch (of) {
    case "u32":
    case "int":
      if (operator === "*") return `(Math.imul(${x}, ${y}) >>> 0)`;
      if (operator === "/") return `(Math.trunc(${x} / ${y}) >>> 0)`;
      if (operator === ">>") return `(${x} >>> ${y})`;
      if (operator === "%") return `(${x} % ${y})`;
      return `((${x} ${operator} ${y}) >>> 0)`;
    case "f32":
    case "f16":
      return rounded(of, `${x} ${operator} ${y}`);
    case "float":
      return `(${x} ${operator} ${y})`;
    case "bool":
      return `((${x} ${operator} ${y}) !== 0)`;
    default:
      throw new SyntaxError(`${of} has no ${operator} here`);
  }
}

/** Untyped numbers that are kept become what WGSL makes of them. */
export function concrete({ code, type }: Code): Code {
  if (type.kind !== "scalar" && type.kind !== "vector") return { code, type };
  if (type.of === "float") return { code: type.kind === "scalar" ? `Math.fround(${code})` : code, type: withElement(type, "f32") };
  return { code, type: type.of === "int" ? withElement(type, "i32") : type };
}

/** What a variable holds before it is given anything. */
export function zeroOf(type: Type): Code {
  switch (type.kind) {
    case "scalar":
      return { code: type.of === "bool" ? "false" : "0", type };
    case "vector":
      return { code: `new Array(${type.size}).fill(0)`, type };
    case "matrix":
      return { code: "$zero", type };
    default:
      throw new SyntaxError(`There is no variable of a ${type.kind} here`);
  }
}

/** An operator between two values. */
export function binary(operator: string, a: Code, b: Code): Code {
  const [left, right] = unify(a, b);
  const of = elementOf(left.type);
  const type = left.type.kind === "vector" ? left.type : right.type;
  if (["==", "!=", "<", ">", "<=", ">="].includes(operator)) {
    return map([left, right], withElement(type, "bool"), (x, y) => `(${x} ${operator}${operator === "==" || operator === "!=" ? "=" : ""} ${y})`);
  }
  if (operator === "&&" || operator === "||") return { code: `(${left.code} ${operator} ${right.code})`, type: scalar("bool") };
  return map([left, right], type, (x, y) => arithmetic(operator, of, x, y));
}

/** A value as one of another type: numbers that are written down take the type that they meet. */
export function convert({ code, type }: Code, to: Type): Code {
  if (type.kind === "scalar" && to.kind === "scalar" && (type.of === "int" || type.of === "float")) {
    return { code: rounded(to.of, code), type: to };
  }
  if (type.kind === "vector" && to.kind === "vector" && (type.of === "int" || type.of === "float")) return { code, type: to };
  return { code, type };
}
