import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { allocateWidths, type WidthLoss } from "../../../core/tpla/allocate_widths.ts";

const SEED = 20261130;

const choices = fc.uniqueArray(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 4 }).chain((widths) =>
  fc.array(fc.double({ min: -0.1, max: 1, noNaN: true }), { minLength: widths.length, maxLength: widths.length }).map((losses): WidthLoss[] =>
    widths.toSorted((a, b) => a - b).map((width, i) => ({ width, loss: losses[i] }))
  )
);

/** What a choice counts for: never more than a narrower one, and never less than nothing. */
const counted = (layer: readonly WidthLoss[], width: number) =>
  Math.max(0, Math.min(...layer.filter((one) => one.width <= width).map(({ loss }) => loss)));

const lossOf = (layers: readonly (readonly WidthLoss[])[], widths: readonly number[]) =>
  widths.reduce((sum, width, i) => sum + counted(layers[i], width), 0);

/** All choices there are. */
function* everyChoice(layers: readonly (readonly WidthLoss[])[]): Generator<number[]> {
  const [first, ...others] = layers;
  if (first === undefined) return yield [];
  for (const { width } of first) for (const rest of everyChoice(others)) yield [width, ...rest];
}

describe("allocateWidths", () => {
  it("loses as little as any choice within the budget, and never goes over it", () => {
    fc.assert(
      fc.property(fc.array(choices, { minLength: 1, maxLength: 4 }), fc.integer({ min: 0, max: 40 }), (layers, budget) => {
        const possible = [...everyChoice(layers)].filter((widths) => widths.reduce((a, b) => a + b) <= budget);
        const chosen = allocateWidths(layers, budget);
        if (chosen === null) return assertEquals(possible, []);
        assert(possible.some((widths) => widths.join() === chosen.join()), `${chosen} within ${budget}`);
        const least = Math.min(...possible.map((widths) => lossOf(layers, widths)));
        assert(Math.abs(lossOf(layers, chosen) - least) < 1e-12, `${lossOf(layers, chosen)}, but ${least} is possible`);
      }),
      { seed: SEED, numRuns: 300 },
    );
  });

  it("never loses more with more to spend", () => {
    fc.assert(
      fc.property(
        fc.array(choices, { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 0, max: 60 }),
        fc.integer({ min: 0, max: 20 }),
        (layers, budget, more) => {
          const [less, wider] = [allocateWidths(layers, budget), allocateWidths(layers, budget + more)];
          if (less === null) return;
          assert(wider !== null && lossOf(layers, wider) <= lossOf(layers, less) + 1e-12);
        },
      ),
      { seed: SEED, numRuns: 300 },
    );
  });

  it("gives what there is to the layer that needs it, and spends nothing on those that do not", () => {
    const needs = (losses: readonly number[]) => losses.map((loss, i) => ({ width: 64 + 16 * i, loss }));
    const layers = [needs([0, 0, 0, 0, 0]), needs([0.0003, 0.00002, 0, 0, 0]), needs([0.0068, 0.0004, 0.0001, 0.000004, 0])];
    assertEquals(allocateWidths(layers, 3 * 80), [64, 80, 96]);
    assertEquals(allocateWidths(layers, 3 * 96), [64, 96, 128]);
    assertEquals(allocateWidths(layers, 3 * 128), [64, 96, 128]);
    assertEquals(allocateWidths(layers, 3 * 64 - 1), null);
  });
});
