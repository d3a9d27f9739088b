/**
 * Which matrix of a stack multiplies which input. The linear kernels work on *items*: one item is one output row.
 *
 * @module
 */
import { constants } from "../authoring/contract.ts";

/** How items choose matrices and inputs. */
export type Select =
  /** One matrix; item i reads input i. */
  | { readonly kind: "all" }
  /** One matrix per attention head; item i is head i % heads and reads input i. */
  | { readonly kind: "head"; readonly heads: number }
  /** One matrix per expert; item i uses expert `routes[i]` and reads input ⌊i / perInput⌋. */
  | { readonly kind: "expert"; readonly perInput: number };

/** Items that share one input row. */
export function itemsPerInput(select: Select): number {
  return select.kind === "expert" ? select.perInput : 1;
}

/** `matrix_of(item)` for kernels that look a route up per item. */
export function matrixOfWgsl(select: Select): string {
  const body = { all: "return 0u;", head: "return item % HEADS;", expert: "return routes[item];" }[select.kind];
  return constants({ HEADS: select.kind === "head" ? select.heads : 1 }) + `fn matrix_of(item: u32) -> u32 { ${body} }\n`;
}

/** The same on the host. */
export function matrixOf(select: Select, item: number, routes: Uint32Array): number {
  switch (select.kind) {
    case "all":
      return 0;
    case "head":
      return item % select.heads;
    case "expert":
      return routes[item];
    default:
      return select satisfies never;
  }
}
