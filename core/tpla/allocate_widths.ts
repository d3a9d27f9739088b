/**
 * Which width of the latent each layer gets, so that all together lose as little as they can within a budget.
 *
 * @module
 */
import { invariant } from "../errors.ts";

/** One width that a layer can have. */
export interface WidthLoss {
  readonly width: number;
  /** What the model loses if this layer is cut so and all others are exact: KL in nats. */
  readonly loss: number;
}

/** What layers come to. */
interface Allocation {
  readonly loss: number;
  readonly widths: readonly number[];
}

/**
 * Widths whose losses have the least sum, which they do nearly add up to where they are small: a knapsack, exactly. More width never counts as a loss, as measurements
 * of next to nothing do. What nobody gains from is not spent.
 *
 * @param layers choices of each layer, by ascending width
 * @param budget of the sum of all widths
 * @returns a width for each layer; null if not even the smallest are within the budget
 */
export function allocateWidths(layers: readonly (readonly WidthLoss[])[], budget: number): number[] | null {
  // Of all ways to spend as much on the layers so far, the best.
  let best = new Map<number, Allocation>([[0, { loss: 0, widths: [] }]]);
  for (const choices of layers) {
    invariant(choices.every(({ width }, i) => i === 0 || width > choices[i - 1].width), "widths ascend");
    const next = new Map<number, Allocation>();
    let least = Infinity;
    for (const { width, loss } of choices) {
      least = Math.min(least, Math.max(0, loss));
      for (const [spent, before] of best) {
        const known = next.get(spent + width);
        const sum = before.loss + least;
        if (spent + width <= budget && (known === undefined || sum < known.loss)) {
          next.set(spent + width, { loss: sum, widths: [...before.widths, width] });
        }
      }
    }
    best = next;
  }
  const bySpent = [...best].sort(([a], [b]) => a - b).map(([, allocation]) => allocation);
  if (bySpent.length === 0) return null;
  return [...bySpent.reduce((chosen, one) => one.loss < chosen.loss ? one : chosen).widths];
}
