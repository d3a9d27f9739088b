import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { chooseDrafts } from "../../../cluster/scheduler/draft_planner.ts";
import type { Placement } from "../../../cluster/scheduler/state.ts";
import { StepCosts } from "../../../core/speculation/step_costs.ts";

/** Steps that take so much, and so much for each row. */
function costsOf(base: number, slope: number): StepCosts {
  const costs = new StepCosts();
  for (const rows of [1, 2, 4, 8, 16, 32, 64]) for (let i = 0; i < 12; i++) costs.note(rows, base + slope * rows);
  return costs;
}

/** A sequence with a draft of 16 tokens of that probability; null: it has none. */
function placementOf(probability: number | null, left = 100): Placement {
  const propose = (most: number) => ({ tokens: Array.from({ length: Math.min(16, most) }, (_, i) => i), value: 9, probability: probability! });
  const drafts = probability === null ? null : { propose, push() {}, settle() {} };
  return { sequence: { mostTokens: left, generated: [], drafts } } as unknown as Placement;
}

const countsOf = (placements: Placement[], costs: StepCosts, most = 64) =>
  chooseDrafts(placements, { rows: placements.length, most, costs }).map(({ count }) => count);

describe("drafts of a step", () => {
  it("are as long as they bring more than they take, the likeliest first", () => {
    const [cheap] = countsOf([placementOf(0.95)], costsOf(8, 0.2));
    const [dear] = countsOf([placementOf(0.95)], costsOf(1, 1));
    assert(cheap > 8 && dear < cheap, `${cheap}, ${dear}`);
    const [likely, unlikely] = countsOf([placementOf(0.9), placementOf(0.3)], costsOf(8, 0.5));
    assert(likely > unlikely);
    assertEquals(countsOf([placementOf(0.05)], costsOf(1, 1)), [0]);
  });

  it("leave rows to others, and are no longer than what is left to generate", () => {
    assertEquals(countsOf([placementOf(0.99, 4)], costsOf(8, 0.1)), [3]);
    assertEquals(countsOf([placementOf(0.99, 1)], costsOf(8, 0.1)), [0]);
    assert(countsOf([placementOf(0.99), placementOf(0.99)], costsOf(8, 0.1), 6).reduce((sum, count) => sum + count) <= 4);
    assertEquals(countsOf([placementOf(0.99)], costsOf(8, 0.1), 1), [0]);
  });

  it("make those that have none wait half as long again at most, and for no gain not at all", () => {
    for (const [base, slope] of [[1, 1], [0.2, 1], [4, 0.5], [8, 0.2], [8, 0.05]]) {
      const costs = costsOf(base, slope);
      const placements = [...Array.from({ length: 8 }, () => placementOf(0.98)), placementOf(null)];
      const drafted = countsOf(placements, costs).reduce((sum, count) => sum + count);
      const [without, withDrafts] = [costs.expected(9, 9)![0], costs.expected(9 + drafted, 9 + drafted)![0]];
      assert(withDrafts <= without * 1.5 + 1e-9, `${base}, ${slope}: ${without} and ${withDrafts} ms`);
      if (slope >= base) assertEquals(drafted, 0);
    }
  });
});
