import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { Acceptance } from "../../../core/speculation/acceptance.ts";
import { StepCosts } from "../../../core/speculation/step_costs.ts";

function note(costs: StepCosts, rows: number, ms: number, times: number): void {
  for (let i = 0; i < times; i++) costs.note(rows, ms);
}

describe("what steps are expected to take", () => {
  it("is not known before one has been taken twice, as the first prepares what later ones find", () => {
    const costs = new StepCosts();
    assertEquals(costs.expected(1, 4), null);
    costs.note(1, 900);
    assertEquals(costs.expected(1, 4), null);
    costs.note(1, 8);
    const [one, two, , four] = costs.expected(1, 4)!;
    assert(Math.abs(one - 8) < 1e-9 && two > one && four < 2 * one, "the first guess: more rows take somewhat longer");
  });

  it("comes near what they take, between sizes that were seen and beyond them", () => {
    const costs = new StepCosts();
    for (const rows of [1, 2, 5, 9, 16]) note(costs, rows, 3 + 0.5 * rows, 20);
    costs.expected(1, 24)!.forEach((ms, i) => assert(Math.abs(ms / (3 + 0.5 * (i + 1)) - 1) < 0.05, `${i + 1} rows: ${ms} ms`));
  });

  it("follows steps that become slower, also of one size beside others, and forgives one that was held up", () => {
    const costs = new StepCosts();
    note(costs, 1, 4, 20);
    note(costs, 2, 5, 20);
    costs.note(1, 4000);
    assert(costs.expected(1, 1)![0] < 6);
    note(costs, 1, 8, 40);
    note(costs, 2, 20, 40);
    const [one, two] = costs.expected(1, 2)!;
    assert(Math.abs(one - 8) < 1 && Math.abs(two - 20) < 2, `${one}, ${two}`);
  });
});

describe("how likely drafts are right", () => {
  it("is thought higher after longer matches, and learned from what became of drafts", () => {
    const acceptance = new Acceptance();
    const before = [3, 4, 5, 8, 12, 30].map((matched) => acceptance.of(matched));
    assertEquals(before, before.toSorted((a, b) => a - b));
    for (let i = 0; i < 20; i++) acceptance.note(3, 4, 0);
    assert(acceptance.of(3) < 0.15 && acceptance.of(30) === before[5]);
    for (let i = 0; i < 20; i++) acceptance.note(3, 4, 4);
    assert(acceptance.of(3) > 0.85);
  });

  it("is given another chance when drafts were not tried for long", () => {
    const acceptance = new Acceptance();
    const before = acceptance.of(4);
    for (let i = 0; i < 20; i++) acceptance.note(4, 4, 0);
    for (let i = 0; i < 400; i++) acceptance.note(4, 0, 0);
    assert(Math.abs(acceptance.of(4) - before) < 0.01);
  });
});
