import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { setImmediate as nextTurn } from "node:timers/promises";
import { DawnPolling, IDLE, LONGEST_NOW, type Poll, type WaitKind } from "../../../kernels/device/dawn_polling.ts";
import { paceDawn } from "../../../kernels/device/pace_dawn.ts";
import { Random } from "../../../bench/support/random.ts";

/** Milliseconds that a turn of the simulated event loop takes, and asking what time it is. */
const [TURN, ASKING] = [0.001, 0.0001];
/** An amount of work. */
const SOME = 1000;

/** An event loop and Dawn on it, both simulated: work is done at a time, and whoever waits for it is told at the next poll. */
class Simulation {
  time = 0;
  polls = 0;
  /** Polls that each collection let go of, and milliseconds that one takes. */
  readonly collected: number[] = [];
  collection = 4;
  #uncollected = 0;
  readonly dawn = new DawnPolling({
    now: () => this.time += ASKING,
    nextTurn: (call) => this.#turns.push(call),
    collect: () => {
      this.collected.push(this.polls - this.#uncollected);
      this.#letGo();
      this.time += this.collection;
    },
    whenCollected: (_, call) => this.#marked = call,
  });
  #marked: (() => void) | null = null;
  readonly #turns: (() => void)[] = [];
  readonly #work = new Set<{ readonly until: number; readonly done: () => void }>();
  #polling = false;

  /** Collects by itself. */
  collect(): void {
    this.#letGo();
  }

  #letGo(): void {
    this.#uncollected = this.polls;
    const marked = this.#marked;
    this.#marked = null;
    // A turn later, as V8 does.
    if (marked !== null) this.#turns.push(marked);
  }

  /** Work that takes this many milliseconds, or fails after them. */
  start(milliseconds: number, failure?: Error, noticed = () => {}): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const done = () => {
      noticed();
      if (failure === undefined) resolve();
      else reject(failure);
    };
    this.#work.add({ until: this.time + milliseconds, done });
    this.#ask();
    return promise;
  }

  /** Waits for work that takes this many milliseconds. @returns how many later it was noticed */
  async late(wait: WaitKind, milliseconds: number, amount = SOME): Promise<number> {
    const began = this.time;
    await this.until(wait(amount).until(this.start(milliseconds)));
    return this.time - began - milliseconds;
  }

  /** The same without the event loop; null if it was not waited for to its end. */
  lateNow(wait: WaitKind, milliseconds: number, amount = SOME): number | null {
    const began = this.time;
    let done = false;
    this.start(milliseconds, undefined, () => done = true);
    return wait(amount).untilNow(() => done) ? this.time - began - milliseconds : null;
  }

  /** The same, with something else that is done meanwhile. @returns how many milliseconds late it was noticed, and how often something else was done */
  busyNow(wait: WaitKind, milliseconds: number, busy: number): { late: number; idle: number } {
    const began = this.time;
    let done = false;
    let idle = 0;
    this.start(milliseconds, undefined, () => done = true);
    assert(wait(SOME).untilNow(() => done, () => (idle++, this.time += busy)));
    return { late: this.time - began - milliseconds, idle };
  }

  /** Turns the loop once. */
  turn(): void {
    this.time += TURN;
    for (const call of this.#turns.splice(0)) call();
  }

  /** Turns the loop until this has settled. */
  async until<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    promise.then(() => settled = true, () => settled = true);
    for (let turn = 0; !settled; turn++) {
      assert(turn < 1e6, "the work is never noticed");
      this.turn();
      await nextMicrotasks();
    }
    return await promise;
  }

  #ask(): void {
    if (this.#polling) return;
    this.#polling = true;
    this.dawn.schedule(this.#poll);
  }

  readonly #poll: Poll = () => {
    this.polls++;
    this.#polling = false;
    for (const work of this.#work) {
      if (work.until > this.time) continue;
      this.#work.delete(work);
      work.done();
    }
    if (this.#work.size > 0) this.#ask();
  };
}

/** A few rounds of them, as many as awaits in a row need. */
async function nextMicrotasks(): Promise<void> {
  for (let i = 0; i < 8; i++) await null;
}

describe("polls of Dawn", () => {
  it("are few for work that takes about as long each time, and come in time", async () => {
    const simulation = new Simulation();
    const wait = simulation.dawn.kind();
    for (const [i, duration] of [3, 3.02, 2.97, 3, 3.05, 2.96, 3].entries()) {
      const { polls } = simulation;
      const late = await simulation.late(wait, duration);
      assert(late >= 0 && late < (i === 0 ? 0.05 : 0.03) * duration, `wait ${i} was noticed ${late} ms late`);
      // A turn each would be 3000.
      if (i > 0) assert(simulation.polls - polls < 10, `${simulation.polls - polls} polls at wait ${i}`);
    }
  });

  it("are few where work was expected too soon, or where only as much of it as half or twice is known", async () => {
    for (const [before, amount] of [[14, SOME], [18, SOME], [14, SOME * 1.6], [30, SOME * 1.6], [30, SOME * 0.6]] as const) {
      const simulation = new Simulation();
      const wait = simulation.dawn.kind();
      for (let i = 0; i < 5; i++) await simulation.late(wait, before, amount);
      const { polls } = simulation;
      const late = await simulation.late(wait, 20);
      const says = `20 ms after ${before} ms of ${amount / SOME} times as much`;
      assert(late < 0.05 * 20, `${says} were noticed ${late} ms late`);
      assert(simulation.polls - polls < 32, `${says}: ${simulation.polls - polls} polls`);
    }
  });

  it("come in time for work of unknown length", async () => {
    for (const duration of [0.002, 0.05, 1, 40]) {
      const simulation = new Simulation();
      const late = await simulation.late(simulation.dawn.kind(), duration);
      assert(late < 0.01 + 0.05 * duration, `${duration} ms of work were noticed ${late} ms late`);
      assert(simulation.polls < 1000, `${simulation.polls} polls in ${duration} ms`);
    }
  });

  it("come for the shorter of two waits, whichever began first", async () => {
    const simulation = new Simulation();
    const [long, short] = [simulation.dawn.kind(), simulation.dawn.kind()];
    await simulation.late(long, 10);
    await simulation.late(short, 0.2);
    const slow = simulation.until(long(SOME).until(simulation.start(10)));
    for (let i = 0; i < 5; i++) {
      const late = await simulation.late(short, 0.2);
      assert(late < 0.02, `0.2 ms of work were noticed ${late} ms late`);
    }
    await slow;
    assert(simulation.time < 20.6, `the longer one was noticed at ${simulation.time} ms`);
  });

  it("are late once, by half of what it takes or some milliseconds, when work becomes shorter", async () => {
    for (const [before, most] of [[4, 1], [200, 3]]) {
      const simulation = new Simulation();
      const wait = simulation.dawn.kind();
      for (let i = 0; i < 5; i++) await simulation.late(wait, before);
      const late: number[] = [];
      for (let i = 0; i < 8; i++) late.push(await simulation.late(wait, 1.2));
      assert(late[0] < most, `${late[0]} ms`);
      assert(Math.max(...late.slice(1)) < 0.35, `${late} ms`);
      assert(Math.max(...late.slice(-2)) < 0.1, `${late} ms`);
    }
  });

  it("come for a step as for the one before it, whatever prompts came between", async () => {
    const simulation = new Simulation();
    const wait = simulation.dawn.kind();
    const [step, prompt] = [SOME, 16 * SOME];
    await simulation.late(wait, 2.5, step);
    for (let i = 0; i < 4; i++) await simulation.late(wait, 200, prompt);
    const { polls } = simulation;
    const late = await simulation.late(wait, 2.5, step);
    assert(late < 0.05, `a step was noticed ${late} ms late`);
    assert(simulation.polls - polls < 16, `${simulation.polls - polls} polls`);
  });

  it("come without the event loop, and are few", async () => {
    const simulation = new Simulation();
    const wait = simulation.dawn.kind();
    const random = new Random();
    const late: number[] = [];
    for (let step = 0; step < 20; step++) {
      for (let sum = 0; sum < 54; sum++) late.push(simulation.lateNow(wait, 0.095 + random.next() * 0.01)!);
      simulation.turn();
      await nextMicrotasks();
    }
    const mean = late.reduce((sum, ms) => sum + ms, 0) / late.length;
    assert(mean < 0.006, `sums of 0.1 ms were noticed ${mean} ms late`);
    assert(simulation.polls / late.length < 3, `${simulation.polls / late.length} polls at each`);
    assertEquals(simulation.dawn.taken, simulation.polls);
  });

  it("come without the event loop for as long as it may stand still, and go on with it", async () => {
    const simulation = new Simulation();
    const wait = simulation.dawn.kind();
    const [began, work] = [simulation.time, simulation.start(LONGEST_NOW + 10)];
    const waiting = wait(SOME);
    assert(!waiting.untilNow(() => false));
    assert(simulation.time - began < LONGEST_NOW + 0.01, `${simulation.time - began} ms`);
    await simulation.until(waiting.until(work));
    assert(simulation.time - began < LONGEST_NOW + 11.5, `${simulation.time - began} ms`);
    // That is known now.
    const { time } = simulation;
    assertEquals(simulation.lateNow(wait, LONGEST_NOW + 10), null);
    assert(simulation.time - time < 0.01);
    const { polls } = simulation;
    assert(simulation.dawn.kind()(SOME).untilNow(() => true));
    assertEquals(simulation.polls, polls, "what is done is not polled");
  });

  it("leave time for something else only where none of it is due soon, and are noticed as early", () => {
    const simulation = new Simulation();
    const wait = simulation.dawn.kind();
    for (let sum = 0; sum < 10; sum++) simulation.lateNow(wait, 0.2);
    const { late, idle } = simulation.busyNow(wait, 0.2, IDLE);
    assert(idle > 2, `${idle} times`);
    assert(late < 0.012, `noticed ${late} ms late`);
  });

  it("are collected in the next turn when they were taken without the event loop", () => {
    const simulation = new Simulation();
    const wait = simulation.dawn.kind();
    while (simulation.polls < 5000) simulation.lateNow(wait, 0.1);
    assertEquals(simulation.collected, []);
    simulation.turn();
    assertEquals(simulation.collected, [simulation.polls]);
  });

  it("are collected while there is time for it", async () => {
    const simulation = new Simulation();
    const wait = simulation.dawn.kind();
    for (let i = 0; i < 100; i++) {
      const late = await simulation.late(wait, 50);
      assert(i === 0 || late < 1, `50 ms of work were noticed ${late} ms late, with its collection`);
    }
    assert(simulation.collected.length > 0, "none was collected");
    assert(Math.max(...simulation.collected) < 1000, `${simulation.collected} polls`);
  });

  it("are collected where there is no time for it, more at once where that takes long", async () => {
    const most = async (collection: number) => {
      const simulation = new Simulation();
      simulation.collection = collection;
      const wait = simulation.dawn.kind();
      for (let i = 0; i < 20_000; i++) await simulation.late(wait, 0.1);
      return Math.max(...simulation.collected);
    };
    // One may be taken before it is known that others are gone.
    const least = await most(1);
    assert(least === 5000 || least === 5001, `${least} polls at once`);
    const many = await most(30);
    assert(many > 6000 && many < 8000, `${many} polls at once`);
  });

  it("are not collected where V8 has done so by itself", async () => {
    const simulation = new Simulation();
    const wait = simulation.dawn.kind();
    for (let i = 0; i < 20_000; i++) {
      await simulation.late(wait, 0.1);
      if (i % 500 === 0) simulation.collect();
    }
    assertEquals(simulation.collected, []);
    assert(simulation.polls > 20_000);
  });

  it("come for work that nobody said they wait for, and for work that fails", async () => {
    const simulation = new Simulation();
    await simulation.until(simulation.start(1));
    assert(simulation.time < 1.01 && simulation.polls <= 201, `noticed at ${simulation.time} ms, ${simulation.polls} polls`);
    const wait = simulation.dawn.kind();
    await assertRejects(() => simulation.until(wait(SOME).until(simulation.start(1, new Error("gone")))), Error, "gone");
    await simulation.late(wait, 1);
  });

  it("are taken out of what setImmediate is given, and nothing else is", async () => {
    const original = globalThis.setImmediate;
    try {
      const dawn = paceDawn();
      assert(paceDawn() === dawn);
      const called: unknown[] = [];
      setImmediate((...values: unknown[]) => called.push(...values), 1, 2);
      setImmediate(() => called.push(3));
      clearImmediate(setImmediate(() => called.push("cleared")));
      // Native and without a name, as Dawn's are.
      setImmediate(new Proxy(() => called.push("poll"), { get: (target, key) => key === "name" ? "" : Reflect.get(target, key) }));
      for (let turn = 0; turn < 1000 && !called.includes("poll"); turn++) await nextTurn();
      assertEquals(called, [1, 2, 3, "poll"]);
    } finally {
      globalThis.setImmediate = original;
    }
  });
});
