/**
 * Where the threads of a workgroup wait for each other, and for what.
 *
 * @module
 */
import type { Expression, Statement } from "./syntax.ts";

/** What a thread waits for. */
export type Wait =
  | { readonly kind: "barrier" }
  | { readonly kind: "shuffle"; readonly value: number; readonly distance: number }
  | { readonly kind: "load"; readonly place: MatrixPlace }
  | { readonly kind: "store"; readonly place: MatrixPlace; readonly matrix: Matrix }
  | { readonly kind: "multiply"; readonly left: Matrix; readonly right: Matrix; readonly sums: Matrix };

/** Where a matrix lies: bytes. */
export interface MatrixPlace {
  readonly memory: string;
  readonly offset: number;
  readonly stride: number;
  readonly columnMajor: boolean;
  readonly type: "f16" | "f32";
}

/** 16 rows of 16 values. */
export type Matrix = Float32Array;

/** Functions of WGSL that make a thread wait. */
const WAITING = new Set([
  "workgroupBarrier",
  "workgroupUniformLoad",
  "subgroupShuffleXor",
  "subgroupMatrixLoad",
  "subgroupMatrixStore",
  "subgroupMatrixMultiplyAccumulate",
]);

/** Whether a thread that runs this may wait for others. @param waiting whether a function makes it wait, by its name */
export function waits(body: readonly Statement[], waiting: (name: string) => boolean): boolean {
  const inExpression = (e: Expression | null): boolean => {
    if (e === null) return false;
    switch (e.kind) {
      case "call":
        return WAITING.has(e.name) || waiting(e.name) || e.values.some(inExpression);
      case "member":
      case "unary":
        return inExpression(e.of);
      case "index":
        return inExpression(e.of) || inExpression(e.at);
      case "binary":
        return inExpression(e.left) || inExpression(e.right);
      default:
        return false;
    }
  };
  return body.some((s): boolean => {
    switch (s.kind) {
      case "declare":
      case "return":
        return inExpression(s.value);
      case "assign":
        return inExpression(s.value) || inExpression(s.to);
      case "call":
        return inExpression(s.call);
      case "if":
        return inExpression(s.condition) || waits(s.then, waiting) || waits(s.else, waiting);
      case "for":
        return inExpression(s.condition) || waits(s.body, waiting);
      case "block":
        return waits(s.body, waiting);
      default:
        return false;
    }
  });
}
