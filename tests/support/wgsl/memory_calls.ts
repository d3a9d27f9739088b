/**
 * JavaScript of WGSL's functions that read or write memory: atomics, and matrices.
 *
 * @module
 */
import { type Code, convert, zeroOf } from "./code.ts";
import type { Expression, TypeSyntax } from "./syntax.ts";
import { NONE, sizeOf, type Type } from "./types.ts";

/** A place in memory: its name, and JavaScript that computes the byte. */
export interface Place {
  readonly memory: string;
  readonly offset: string;
  readonly type: Type;
}

/** What is around a call: how what it names is translated. */
export interface Around {
  /** A place in memory; null for what threads have of their own. */
  place(e: Expression): Place | null;
  expression(e: Expression): Code;
  type(syntax: TypeSyntax): Type;
}

/** A call of a function of atomics; null if it is none. */
export function atomicCall(name: string, [of, value]: readonly Expression[], { place, expression }: Around): Code | null {
  if (!name.startsWith("atomic")) return null;
  const { memory, offset, type } = place(of)!;
  const given = value === undefined ? "0" : convert(expression(value), type).code;
  switch (name) {
    case "atomicLoad":
    case "atomicAdd":
      return { code: `$m_${memory}.add(${offset}, ${given})`, type };
    case "atomicStore":
      return { code: `$m_${memory}.u32[(${offset}) / 4] = ${given}`, type: NONE };
  }
  throw new SyntaxError(`There is no function ${name}`);
}

/** A call of a function of matrices, or of what is read for a whole workgroup; null if it is none. */
export function matrixCall(
  name: string,
  parameters: readonly (TypeSyntax | Expression)[],
  values: readonly Expression[],
  { place, expression, type: typeOf }: Around,
): Code | null {
  const matrixPlace = (to: Expression, offset: Expression, stride: Expression, of: "f16" | "f32", order: string) => {
    const { memory, offset: base, type } = place(to)!;
    if (type.kind !== "array") throw new SyntaxError("Matrices are loaded from arrays");
    const bytes = sizeOf(type.of);
    const at = `${base} + ${bytes} * (${expression(offset).code})`;
    return `{ memory: "${memory}", offset: ${at}, stride: ${bytes} * (${expression(stride).code}), columnMajor: ${
      order === "col_major"
    }, type: "${of}" }`;
  };
  const order = (i: number) => (parameters[i] as TypeSyntax).name;
  switch (name) {
    case "workgroupUniformLoad": {
      const of: Expression = values[0].kind === "unary" ? values[0].of : values[0];
      const { code, type } = expression(of);
      return { code: `(yield { kind: "barrier" }, $uniform(${code}, yield { kind: "barrier" }))`, type };
    }
    case "subgroupMatrixLoad": {
      const type = typeOf(parameters[0] as TypeSyntax) as Extract<Type, { kind: "matrix" }>;
      return { code: `(yield { kind: "load", place: ${matrixPlace(values[0], values[1], values[2], type.of, order(1))} })`, type };
    }
    case "subgroupMatrixStore": {
      const matrix = expression(values[2]);
      const { of } = matrix.type as Extract<Type, { kind: "matrix" }>;
      const to = matrixPlace(values[0], values[1], values[3], of, order(0));
      return { code: `(yield { kind: "store", place: ${to}, matrix: ${matrix.code} })`, type: NONE };
    }
    case "subgroupMatrixMultiplyAccumulate": {
      const [left, right, sums] = values.map((value) => expression(value));
      return { code: `(yield { kind: "multiply", left: ${left.code}, right: ${right.code}, sums: ${sums.code} })`, type: sums.type };
    }
  }
  return name.startsWith("subgroup_matrix_") ? zeroOf(typeOf({ name, parameters })) : null;
}
