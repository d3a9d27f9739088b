import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { Scheduler } from "../../../cluster/scheduler/scheduler.ts";
import type { Sequence } from "../../../cluster/scheduler/state.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { Simulation, type SimulationOptions } from "./simulation.ts";
import { Random } from "../../../bench/support/random.ts";

const OPTIONS: SimulationOptions = {
  blockTokens: 4,
  decodeBlockTokens: 4,
  chunkTokens: 6,
  maxBatch: 6,
  stepRows: 8,
  maxWaiting: 40,
  maxWaitingPerClient: 1000,
  maxPrompts: 3,
  maxLosses: 1000,
  prefillUnits: 2,
  decodeGroups: 2,
  prefillBlocks: 20,
  decodeBlocks: 16,
};

/** Random events of a simulation; more by hand. */
const EVENTS = Number(Deno.env.get("TEST_EVENTS") ?? 4000);

/** Longest prompt and answer: what one group holds. */
const CONTEXT = OPTIONS.blockTokens * OPTIONS.decodeBlocks;

/** Some prompts begin alike, some are the same. */
function randomPrompt(simulation: Simulation): number[] {
  const family = simulation.below(3);
  const length = 1 + simulation.below(30);
  const own = simulation.below(3);
  return Array.from({ length }, (_, i) => i < 20 ? family * 100 + i : 1000 * own + i);
}

function run(simulation: Simulation, events: number): void {
  const downs = new Set<string>();
  for (let event = 0; event < events; event++) {
    simulation.now += simulation.below(20);
    const dice = simulation.below(100);
    if (dice < 20 && simulation.scheduler.waiting.size < simulation.options.maxWaiting) {
      const prompt = randomPrompt(simulation);
      const client = `client ${simulation.below(3)}`;
      const tokens = simulation.below(10) === 0 ? 0 : 1 + simulation.below(CONTEXT - prompt.length);
      const copies = simulation.below(5) === 0 ? 3 : 1;
      const priority = simulation.below(4) === 0 ? simulation.below(5) - 2 : 0;
      for (let i = 0; i < copies && simulation.scheduler.waiting.size < simulation.options.maxWaiting; i++) {
        simulation.arrive(prompt, tokens, client, priority);
      }
    } else if (dice < 26) {
      const open = simulation.sequences.filter(({ ended }) => !ended);
      if (open.length > 0) simulation.cancel(open[simulation.below(open.length)]);
    } else if (dice < 28) {
      const names = [...simulation.prefill.keys(), ...simulation.decode.keys()].filter((name) => !downs.has(name));
      const name = names[simulation.below(names.length)];
      if (name === undefined) continue;
      simulation.down(name);
      downs.add(name);
    } else if (dice < 36) {
      const [name] = downs;
      if (name === undefined) continue;
      simulation.up(name, simulation.below(2) === 0);
      downs.delete(name);
    } else {
      simulation.settle();
    }
    simulation.start();
  }
  for (const name of downs) simulation.up(name, false);
  simulation.start();
}

/** Lets everything that is left run to its end. */
function drain(simulation: Simulation): void {
  for (let left = 100_000; simulation.scheduler.active > 0; left--) {
    assert(left > 0, `${simulation.scheduler.active} sequences never end`);
    simulation.now += 5;
    assert(simulation.settle(), "something is in flight as long as sequences are left");
    simulation.start();
  }
  while (simulation.settle()) simulation.start();
  simulation.start();
}

describe("the scheduler", () => {
  const clusters: Record<string, Partial<SimulationOptions> & { readonly seeds: readonly number[] }> = {
    "prefill units and decode groups": { seeds: [1, 2, 3, 4, 5, 6] },
    "mixed units": { prefillUnits: 0, decodeGroups: 0, mixedUnits: 2, decodeBlocks: 22, seeds: [11, 12, 13, 14] },
    "one mixed unit": { prefillUnits: 0, decodeGroups: 0, mixedUnits: 1, decodeBlocks: 22, seeds: [15, 16] },
    "mixed units that keep slices": { prefillUnits: 0, decodeGroups: 0, mixedUnits: 2, decodeBlocks: 22, promptBlocks: 17, seeds: [21, 22, 23, 24] },
    "one mixed unit that keeps slices": { prefillUnits: 0, decodeGroups: 0, mixedUnits: 1, decodeBlocks: 22, promptBlocks: 30, seeds: [25, 26] },
    "decode groups whose ranks share tokens": { decodeBlockTokens: 8, decodeBlocks: 9, seeds: [31, 32, 33] },
    "decode groups of three ranks that do": { decodeBlockTokens: 12, decodeBlocks: 7, seeds: [34] },
    "mixed units that do": {
      prefillUnits: 0,
      decodeGroups: 0,
      mixedUnits: 2,
      decodeBlockTokens: 8,
      decodeBlocks: 11,
      promptBlocks: 17,
      seeds: [35, 36],
    },
    "units of all roles": { prefillUnits: 1, decodeGroups: 1, mixedUnits: 1, seeds: [17, 18, 19] },
  };
  for (const [units, { seeds, ...change }] of Object.entries(clusters)) {
    for (const seed of seeds) {
      it(`loses, mixes up and starves nothing over thousands of random events with ${units} (seed ${seed})`, () =>
        simulate({ ...OPTIONS, ...change, drafts: true }, seed));
    }
  }

  function simulate(options: SimulationOptions, seed: number): void {
    const simulation = new Simulation(options, new Random(seed));
    run(simulation, EVENTS);
    drain(simulation);
    const { scheduler, sequences, finished } = simulation;
    assert(finished.length > 100, `${finished.length} of ${sequences.length} finished`);
    assert(scheduler.counters.cachedTokens > 0 && scheduler.counters.preemptions > 0 && scheduler.counters.replays > 0, "everything happened");
    const [drafted, accepted] = [scheduler.counters.drafted, scheduler.counters.accepted].map((counts) => counts.reduce((sum, count) => sum + count));
    assert(0 < accepted && accepted < drafted, `${accepted} of ${drafted} drafted tokens were accepted`);
    for (const unit of scheduler.prefillUnits.values()) assertEquals([unit.prompts.size, unit.promptCache.available], [0, unit.promptCache.blocks]);
    for (const group of scheduler.decodeGroups.values()) {
      assertEquals([group.placements.size, group.running.size, group.reserved, group.cache.available], [0, 0, 0, options.decodeBlocks]);
    }
    for (const unit of [...simulation.prefill.values(), ...simulation.decode.values()]) assertEquals(unit.held.size, 0);
    assertEquals(scheduler.waiting.clients, 0, "no account of a client is left");
  }

  it("gives back at once what a choice would have been copied from, if nobody wants it any more", () => {
    const scheduler = new Scheduler(OPTIONS);
    const unit = scheduler.mixedUp("mixed", 8);
    const add = (prompt: number[], mostTokens: number) => scheduler.add({ prompt, mostTokens, client: "a", wholePrompt: false, now: 0 });
    const computed = () => {
      const work = scheduler.nextWork(unit, 0, () => OPTIONS.chunkTokens)!;
      assert("chunk" in work);
      return scheduler.chunkDone(work.chunk);
    };
    const prompt = Array.from({ length: 10 }, (_, i) => i);
    for (let i = 0; i < 2; i++) add(prompt, 1);
    scheduler.admit(0, () => true);
    let asked: readonly (Sequence | null)[] = [];
    while (asked.length === 0) ({ asked } = computed());
    for (const sequence of asked) {
      scheduler.append(sequence!, 7);
      scheduler.end(sequence!);
    }
    assertEquals([unit.running.size, unit.placements.size, unit.cache.available], [0, 0, 8]);
    scheduler.checkIntegrity();
    assertEquals(scheduler.nextWork(unit, 0, () => 1), null);
  });

  it("serves clients in turn, however many requests one of them has", () => {
    const simulation = new Simulation({ ...OPTIONS, maxBatch: 1, maxWaiting: 1000, prefillUnits: 1, decodeGroups: 1 }, new Random(9));
    for (let i = 0; i < 50; i++) simulation.arrive([i, 1, 2, 3], 4, "greedy");
    const modest = Array.from({ length: 5 }, (_, i) => simulation.arrive([500 + i, 1, 2, 3], 4, "modest"));
    simulation.start();
    drain(simulation);
    const last = Math.max(...modest.map((sequence) => simulation.finished.indexOf(sequence)));
    assert(last < 14, `the last of five came ${last}th`);
  });

  it("gives one who comes later no turn for having been away, though nobody waits when he comes", () => {
    const simulation = new Simulation({ ...OPTIONS, maxBatch: 2, maxWaiting: 1000, prefillUnits: 1, decodeGroups: 1 }, new Random(4));
    const early = Array.from({ length: 2 }, (_, i) => simulation.arrive([i, 1, 2, 3], 12, "early"));
    simulation.start();
    for (let i = 0; i < 12; i++) {
      simulation.settle();
      simulation.start();
    }
    assertEquals([simulation.scheduler.waiting.size, early.some(({ ended }) => ended)], [0, false], "both run and nobody waits");
    // Whoever waits next is served in turn: what the first has had while he was alone is not held against him, nor for the other.
    const later = Array.from({ length: 8 }, (_, i) => simulation.arrive([100 + i, 1, 2, 3], 4, i % 2 === 0 ? "late" : "early"));
    drain(simulation);
    const order = simulation.finished.filter((sequence) => later.includes(sequence)).map(({ client }) => client);
    assert(order.slice(0, order.lastIndexOf("late")).filter((client) => client === "early").length >= 2, `${order}`);
  });

  it("lets no client wait with more requests than it may, whoever else waits", () => {
    const scheduler = new Scheduler({ ...OPTIONS, maxWaiting: 5, maxWaitingPerClient: 3 });
    const add = (client: string) => scheduler.add({ prompt: [1], mostTokens: 1, client, wholePrompt: false, now: 0 });
    const first = add("greedy");
    add("greedy");
    add("greedy");
    assertEquals(assertThrows(() => add("greedy"), LatentmeshError, "3 requests of this key are waiting already").code, "overloaded");
    add("modest");
    scheduler.end(first);
    add("greedy");
  });

  const roles = { "prefill units": { prefillUnits: 1, decodeGroups: 1 }, "mixed units": { prefillUnits: 0, decodeGroups: 0, mixedUnits: 1 } };
  for (const [units, numbers] of Object.entries(roles)) {
    it(`computes short prompts before long ones, but not for ever, on ${units}`, () => agesFairly(numbers));
  }

  function agesFairly(numbers: Partial<SimulationOptions>): void {
    const simulation = new Simulation({
      ...OPTIONS,
      maxPrompts: 50,
      maxBatch: 50,
      decodeBlocks: 400,
      prefillBlocks: 400,
      ...numbers,
    }, new Random(1));
    const long = simulation.arrive(Array.from({ length: 120 }, (_, i) => i), 1, "a");
    const short = simulation.arrive([7000, 7001], 1, "a");
    simulation.start();
    while (!short.ended) {
      simulation.settle();
      simulation.start();
    }
    assert(!long.ended && long.placement!.prefilled <= 12, "the short one overtook");
    let others = 0;
    while (!long.ended) {
      simulation.arrive([8000 + others, 1], 1, "a");
      others++;
      simulation.now += 10;
      simulation.settle();
      simulation.start();
      assert(others < 200, "the long one starves");
    }
  }

  it("serves a client's requests by priority, and gives it no turns of others for that", () => {
    for (const numbers of Object.values(roles)) {
      const simulation = new Simulation({ ...OPTIONS, maxBatch: 1, maxPrompts: 1, maxWaiting: 1000, ...numbers, decodeBlocks: 22 }, new Random(9));
      const running = simulation.arrive([1, 2, 3], 3, "greedy");
      simulation.start();
      const late = [5, 0, -3, 5, 0, -3].map((priority, i) => simulation.arrive([10 + i, 1, 2, 3], 4, "greedy", priority));
      const modest = Array.from({ length: 3 }, (_, i) => simulation.arrive([500 + i, 1, 2, 3], 4, "modest", 7));
      simulation.start();
      drain(simulation);
      const done = simulation.finished;
      assertEquals(done[0], running);
      assertEquals(done.filter((one) => late.includes(one)).map(({ priority }) => priority), [-3, -3, 0, 0, 5, 5]);
      assertEquals(late.filter(({ priority }) => priority === 0).map((one) => done.indexOf(one)).toSorted((a, b) => a - b).map((i) => done[i]), [
        late[1],
        late[4],
      ]);
      const last = Math.max(...modest.map((one) => done.indexOf(one)));
      assert(last < 7, `the last of three, of which none has priority, came ${last}th`);
    }
  });

  it("computes a client's prompts by priority, whatever their length", () => {
    for (const numbers of Object.values(roles)) {
      const simulation = new Simulation({ ...OPTIONS, maxPrompts: 9, decodeBlocks: 200, prefillBlocks: 200, ...numbers }, new Random(3));
      const prompt = (first: number, length: number) => Array.from({ length }, (_, i) => first + i);
      const short = simulation.arrive(prompt(1000, 5), 1, "a");
      const long = simulation.arrive(prompt(2000, 40), 1, "a", -1);
      const other = simulation.arrive(prompt(3000, 4), 1, "b", 9);
      simulation.start();
      drain(simulation);
      // Whose turn it is goes by length as ever: the other client's is the shortest.
      assertEquals(simulation.finished.map((one) => [other, long, short].indexOf(one)), [0, 1, 2]);
    }
  });

  it("preempts those of a client with the last priority, though they came first, and nobody else for them", () => {
    for (const numbers of Object.values(roles)) {
      const simulation = new Simulation({ ...OPTIONS, maxBatch: 3, decodeBlocks: 10, prefillBlocks: 40, ...numbers }, new Random(5));
      const stranger = simulation.arrive([7, 8, 9], 14, "b");
      const low = simulation.arrive([1, 2, 3], 14, "a", 5);
      const high = simulation.arrive([4, 5, 6], 14, "a", -5);
      simulation.start();
      const gave: string[] = [];
      const names = new Map([[low, "low"], [high, "high"], [stranger, "stranger"]]);
      for (let left = 10_000; simulation.scheduler.active > 0; left--) {
        assert(left > 0);
        const placed = [...names.keys()].filter(({ placement }) => placement !== null);
        simulation.settle();
        simulation.start();
        for (const one of placed) if (one.placement === null && !one.ended) gave.push(names.get(one)!);
      }
      assertEquals([...new Set(gave)], ["low"], `${JSON.stringify(numbers)}: ${gave}`);
      assertEquals(simulation.finished.at(-1), low);
    }
  });

  it("shares one prefill among equal prompts that wait together, and the prefix among others", () => {
    const simulation = new Simulation({ ...OPTIONS, decodeBlocks: 60, prefillBlocks: 60, prefillUnits: 1, decodeGroups: 1 }, new Random(2));
    const prompt = Array.from({ length: 14 }, (_, i) => i);
    const choices = [1, 2, 3].map(() => simulation.arrive(prompt, 5, "a"));
    simulation.start();
    drain(simulation);
    const { counters } = simulation.scheduler;
    assertEquals(simulation.finished.length, 3);
    assertEquals([counters.promptTokens, counters.cachedTokens], [42, 28]);
    const later = simulation.arrive([...prompt.slice(0, 9), 77, 78, 79], 3, "a");
    const stranger = simulation.arrive(prompt, 3, "b");
    simulation.start();
    drain(simulation);
    assertEquals([later.cachedTokens, stranger.cachedTokens, choices[0].cachedTokens], [8, 0, 0]);
  });

  it("takes no token twice from a prompt that was computed here and, when its group was lost, elsewhere too", () => {
    for (const first of [0, 1]) {
      const simulation = new Simulation(OPTIONS, new Random(1));
      const sequence = simulation.arrive([1, 2, 3], 3, "a");
      simulation.start();
      const { prefill, decode } = sequence.placement!;
      simulation.down(decode!.name);
      simulation.start();
      assert(sequence.placement!.prefill !== prefill && sequence.placement!.decode !== decode, "it went elsewhere");
      simulation.settleChunk(first);
      simulation.settleChunk(0);
      simulation.up(decode!.name, false);
      simulation.start();
      drain(simulation);
      assertEquals(simulation.finished, [sequence]);
    }
  });

  it("refuses what would wait too long", () => {
    const scheduler = new Scheduler({ ...OPTIONS, maxWaiting: 2 });
    const add = () => scheduler.add({ prompt: [1], mostTokens: 1, client: "", wholePrompt: false, now: 0 });
    const first = add();
    add();
    assertEquals(assertThrows(add, LatentmeshError, "2 requests are waiting already").code, "overloaded");
    scheduler.end(first);
    add();
  });
});
