/**
 * What a pattern consists of.
 *
 * @module
 */
import type { CodePoints } from "../text/code_points.ts";

/** A pattern, taken apart. */
export type PatternTree =
  /** One of these characters. */
  | { readonly kind: "class"; readonly points: CodePoints }
  | { readonly kind: "sequence"; readonly parts: readonly PatternTree[] }
  | { readonly kind: "either"; readonly parts: readonly PatternTree[] }
  /** @see max may be Infinity */
  | { readonly kind: "repeat"; readonly part: PatternTree; readonly min: number; readonly max: number }
  /** Only where the text begins, or ends. */
  | { readonly kind: "start" }
  | { readonly kind: "end" }
  /** Only where this follows, or does not. */
  | { readonly kind: "ahead"; readonly part: PatternTree; readonly negated: boolean };

/** A pattern that is none, or needs what is not there. */
export class UnsupportedPattern extends Error {}

/** Whether any part of a pattern is of these kinds. */
export function contains(tree: PatternTree, ...kinds: readonly PatternTree["kind"][]): boolean {
  if (kinds.includes(tree.kind)) return true;
  if (tree.kind === "sequence" || tree.kind === "either") return tree.parts.some((part) => contains(part, ...kinds));
  return (tree.kind === "repeat" || tree.kind === "ahead") && contains(tree.part, ...kinds);
}

/** Fewest and most characters that a pattern takes. */
export function width(tree: PatternTree): { readonly min: number; readonly max: number } {
  switch (tree.kind) {
    case "class":
      return { min: 1, max: 1 };
    case "sequence":
      return tree.parts.map(width).reduce((a, b) => ({ min: a.min + b.min, max: a.max + b.max }), { min: 0, max: 0 });
    case "either":
      return tree.parts.map(width).reduce((a, b) => ({ min: Math.min(a.min, b.min), max: Math.max(a.max, b.max) }));
    case "repeat": {
      const { min, max } = width(tree.part);
      return { min: min * tree.min, max: max === 0 ? 0 : max * tree.max };
    }
    case "start":
    case "end":
    case "ahead":
      return { min: 0, max: 0 };
    default:
      return tree satisfies never;
  }
}
