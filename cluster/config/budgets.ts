/**
 * The flag that says how much of a token ranks may cache.
 *
 * @module
 */
import { InvalidArgumentError } from "commander";
import type { WidthBudget } from "../../core/tpla/chosen_widths.ts";

/** `96` for two latent groups, or `2:96,4:64`. */
export function budgets(text: string): WidthBudget[] {
  const all = text.split(",").map((part) => {
    const [, groups = "2", values] = /^(?:(\d{1,4}):)?(\d{1,5}(?:\.\d+)?)$/.exec(part.trim()) ?? [];
    if (values === undefined || Number(groups) < 2) {
      throw new InvalidArgumentError("It must be values of a token that a rank caches, as 96, or latent groups with theirs, as 2:96,4:64.");
    }
    return { latentGroups: Number(groups), values: Number(values) };
  });
  if (new Set(all.map(({ latentGroups }) => latentGroups)).size < all.length) {
    throw new InvalidArgumentError("It has two budgets for as many latent groups.");
  }
  return all;
}
