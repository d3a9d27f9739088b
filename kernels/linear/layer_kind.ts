/**
 * What is alike in linear layers of decode, as far as their speed goes.
 *
 * @module
 */
import type { LinearConfig } from "./linear.ts";

/** Kinds of layers that differ in what is quickest. */
export type LayerKind = "narrow" | "wide" | "head" | "expertUp" | "expertDown";

/** Outputs of a matrix that make workgroups enough, however many each of them takes. */
const WIDE = 16384;

/** The up-projections of experts have several experts' outputs of each input, the down-projections one. */
export function kindOf({ select, outputs }: Pick<LinearConfig, "select" | "outputs">): LayerKind {
  if (select.kind === "expert") return select.perInput > 1 ? "expertUp" : "expertDown";
  if (select.kind === "head") return "head";
  return outputs >= WIDE ? "wide" : "narrow";
}
