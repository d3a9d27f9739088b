/**
 * The part of WGSL that this project's kernels for matrix units are written in, as a tree.
 *
 * @module
 */

/** A type as it is written. */
export interface TypeSyntax {
  readonly name: string;
  readonly parameters: readonly (TypeSyntax | Expression)[];
}

/** An expression. */
export type Expression =
  | { readonly kind: "number"; readonly text: string }
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "member"; readonly of: Expression; readonly name: string }
  | { readonly kind: "index"; readonly of: Expression; readonly at: Expression }
  | {
    readonly kind: "call";
    readonly name: string;
    readonly parameters: readonly (TypeSyntax | Expression)[];
    readonly values: readonly Expression[];
  }
  | { readonly kind: "unary"; readonly operator: string; readonly of: Expression }
  | { readonly kind: "binary"; readonly operator: string; readonly left: Expression; readonly right: Expression };

/** A statement. */
export type Statement =
  | {
    readonly kind: "declare";
    readonly how: "let" | "var" | "const";
    readonly name: string;
    readonly type: TypeSyntax | null;
    readonly value: Expression | null;
  }
  | { readonly kind: "assign"; readonly to: Expression; readonly operator: string; readonly value: Expression }
  | { readonly kind: "call"; readonly call: Expression }
  | { readonly kind: "if"; readonly condition: Expression; readonly then: readonly Statement[]; readonly else: readonly Statement[] }
  | {
    readonly kind: "for";
    readonly first: Statement | null;
    readonly condition: Expression | null;
    readonly next: Statement | null;
    readonly body: readonly Statement[];
  }
  | { readonly kind: "block"; readonly body: readonly Statement[] }
  | { readonly kind: "return"; readonly value: Expression | null }
  | { readonly kind: "break" | "continue" };

/** A function, or the entry point. */
export interface FunctionSyntax {
  readonly name: string;
  readonly parameters: readonly { readonly name: string; readonly type: TypeSyntax; readonly builtin: string | null }[];
  readonly result: TypeSyntax | null;
  readonly body: readonly Statement[];
  /** Of an entry point. */
  readonly workgroupSize: Expression | null;
}

/** A shader. */
export interface Shader {
  readonly constants: readonly { readonly name: string; readonly type: TypeSyntax | null; readonly value: Expression }[];
  /** What must be true. */
  readonly assertions: readonly Expression[];
  readonly aliases: ReadonlyMap<string, TypeSyntax>;
  readonly structs: ReadonlyMap<string, readonly { readonly name: string; readonly type: TypeSyntax }[]>;
  /** Of the module; `binding` is -1 in workgroup memory. */
  readonly variables: readonly { readonly name: string; readonly space: string; readonly type: TypeSyntax; readonly binding: number }[];
  readonly functions: readonly FunctionSyntax[];
}
