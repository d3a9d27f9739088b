import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { DraftLength } from "../../../core/speculation/draft_length.ts";
import { EitherDrafts } from "../../../core/speculation/either_drafts.ts";
import { HeadDrafts, HeadRecord } from "../../../core/speculation/head_drafts.ts";
import { Speculator } from "../../../core/speculation/speculator.ts";
import { StepCosts } from "../../../core/speculation/step_costs.ts";

const budget = () => ({ tokens: 1 << 14 });

/** What takes so much, and so much for each row. */
function costsOf(base: number, slope: number): StepCosts {
  const costs = new StepCosts();
  for (const rows of [1, 2, 4, 8, 16, 32]) for (let i = 0; i < 12; i++) costs.note(rows, base + slope * rows);
  return costs;
}

describe("drafts by a layer of the model", () => {
  it("are what was offered last, until the sequence goes on", () => {
    const drafts = new HeadDrafts();
    assertEquals(drafts.propose(4), null);
    drafts.offer([{ token: 7, probability: 0.9 }, { token: 8, probability: 0.5 }]);
    assertEquals(drafts.propose(4)?.tokens, [7, 8]);
    assertEquals(drafts.propose(1)?.tokens, [7]);
    assertEquals(drafts.propose(0), null);
    drafts.push();
    assertEquals(drafts.propose(4), null);
    drafts.offer([]);
    assertEquals(drafts.propose(4), null);
  });

  it("are believed by how sure the layer is, and by what became of them, and get another chance after a while", () => {
    const drafts = new HeadDrafts();
    const probability = (of: number) => {
      drafts.offer([{ token: 1, probability: of }]);
      return drafts.propose(1)!.probability;
    };
    assert(probability(0.1) < probability(0.5) && probability(0.5) < probability(0.99));
    const [before, expected] = [probability(0.5), drafts.expected];
    for (let i = 0; i < 20; i++) drafts.settle(drafts.propose(1)!, 1, 0);
    assert(probability(0.5) < before / 2 && drafts.expected < expected / 2);
    assert(probability(0.99) > 0.9);
    for (let i = 0; i < 1500; i++) drafts.skip();
    assert(drafts.expected > expected * 0.9);
    for (let i = 0; i < 100; i++) drafts.settle({ tokens: [1], value: 0.5, probability: 0.5 }, 1, 0);
    assert(drafts.expected < 0.1);
  });

  it("begin with what became of those of others, and are tried for all that", () => {
    const record = new HeadRecord();
    const first = new HeadDrafts(record).expected;
    const others = new HeadDrafts(record);
    const draft = { tokens: [1, 2, 3], value: 0.9, probability: 0.9 };
    for (let i = 0; i < 100; i++) others.settle(draft, 3, 0);
    const [low, belief] = [new HeadDrafts(record).expected, others.expected];
    assert(belief < low && low < first * 0.7 && low > 0.2, `${belief} < ${low} < ${first}`);
    for (let i = 0; i < 100; i++) others.settle(draft, 3, 3);
    assert(new HeadDrafts(record).expected > first && others.expected > 0.9);
  });

  it("are as long as they bring more than drafting and verifying take", () => {
    const choose = (steps: StepCosts, drafts: StepCosts, expected: number[], most = 64) => new DraftLength({ steps, drafts }).choose(expected, most);
    assertEquals(choose(new StepCosts(), new StepCosts(), [0.9]), 0);
    assertEquals(choose(costsOf(10, 0.1), costsOf(0.3, 0), [0.95]), 4);
    assertEquals(choose(costsOf(10, 0.1), new StepCosts(), [0.95]), 4);
    assertEquals(choose(costsOf(10, 0.1), costsOf(0.3, 0), [0.02]), 0);
    assertEquals(choose(costsOf(0, 1), costsOf(0.1, 0), [0.8]), 0);
    assertEquals(choose(costsOf(10, 0.1), costsOf(20, 0), [0.9]), 0);
    const some = choose(costsOf(10, 0.3), costsOf(1, 0), [0.6]);
    assert(some >= 1 && some < 4, `${some}`);
    // Rows of a step, and of streams of which one is hopeless.
    assertEquals(choose(costsOf(10, 0.1), costsOf(0.3, 0), [0.9, 0.9, 0.9], 8), 1);
    assertEquals(choose(costsOf(10, 0.1), costsOf(0.3, 0), [0.9, 0.9, 0.9], 5), 0);
    assert(choose(costsOf(10, 0.1), costsOf(0.3, 0), [0.9, 0]) > 0);
  });

  it("compete with what was said before, and each learns of its own", () => {
    const said = [1, 2, 3, 4, 5, 1, 2, 3];
    const drafts = new EitherDrafts(new Speculator(said));
    assertEquals(drafts.propose(2, budget())?.tokens, [4, 5]);
    drafts.head.offer([{ token: 9, probability: 0.99 }]);
    assertEquals(drafts.propose(1, budget())?.tokens, [9]);
    // One that is likely is more than several that are not.
    assertEquals(drafts.propose(8, budget())?.tokens, [9]);
    const expected = drafts.head.expected;
    drafts.settle(drafts.propose(1, budget())!, 1, 0);
    assert(drafts.head.expected < expected);
    drafts.push(4);
    assertEquals(drafts.propose(1, budget())?.tokens, [5]);
    const after = drafts.head.expected;
    drafts.settle(drafts.propose(1, budget())!, 1, 0);
    assertEquals(drafts.head.expected, after);
  });

  it("give what was said before another chance some day, however long the layer is preferred", () => {
    const speculator = new Speculator([4, 5, 6, 4, 5, 6, 4, 5, 6]);
    const drafts = new EitherDrafts(speculator);
    for (let i = 0; i < 30; i++) drafts.settle(drafts.propose(2, budget())!, 2, 0);
    const doubted = speculator.propose(2, budget())!.probability;
    for (let i = 0; i < 200; i++) {
      drafts.head.offer([{ token: 9, probability: 0.99 }]);
      const draft = drafts.propose(1, budget())!;
      assertEquals(draft.tokens, [9]);
      drafts.settle(draft, 1, 1);
    }
    const later = speculator.propose(2, budget())!.probability;
    assert(later > doubted + 0.1, `${doubted} ${later}`);
  });
});
