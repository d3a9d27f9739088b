/**
 * Types of WGSL, and how they lie in memory.
 *
 * @module
 */

/** Elements; `int` and `float` are numbers that are written without a type. */
export type Scalar = "u32" | "i32" | "f32" | "f16" | "bool" | "int" | "float";

/** A type. */
export type Type =
  | { readonly kind: "scalar"; readonly of: Scalar }
  | { readonly kind: "vector"; readonly of: Scalar; readonly size: number }
  | { readonly kind: "array"; readonly of: Type; readonly count: number | null }
  | {
    readonly kind: "struct";
    readonly name: string;
    readonly members: readonly { readonly name: string; readonly type: Type; readonly offset: number }[];
  }
  | { readonly kind: "matrix"; readonly of: "f16" | "f32" }
  | { readonly kind: "none" };

/** What has no value. */
export const NONE: Type = { kind: "none" };
/** A type of one element. */
export const scalar: (of: Scalar) => Type = (of) => ({ kind: "scalar", of });

/** What a scalar or a vector has. @throws {SyntaxError} if it is neither */
export function elementOf(type: Type): Scalar {
  if (type.kind !== "scalar" && type.kind !== "vector") throw new SyntaxError(`A ${type.kind} is no operand`);
  return type.of;
}

/** The same with other elements. */
export function withElement(type: Type, of: Scalar): Type {
  return type.kind === "vector" ? { ...type, of } : scalar(of);
}

/** Bytes that it begins at multiples of. */
export function alignOf(type: Type): number {
  switch (type.kind) {
    case "vector":
      return type.size === 2 ? 8 : 16;
    case "array":
      return alignOf(type.of);
    case "struct":
      return Math.max(...type.members.map(({ type }) => alignOf(type)));
    default:
      return 4;
  }
}

/** Bytes from one to the next. */
export function sizeOf(type: Type): number {
  switch (type.kind) {
    case "scalar":
      return type.of === "f16" ? 2 : 4;
    case "vector":
      return type.size * 4;
    case "array":
      return sizeOf(type.of) * (type.count ?? 0);
    case "struct": {
      const last = type.members.at(-1)!;
      const align = alignOf(type);
      return Math.ceil((last.offset + sizeOf(last.type)) / align) * align;
    }
    default:
      throw new SyntaxError(`A ${type.kind} is not in memory`);
  }
}
