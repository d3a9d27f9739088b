import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { setImmediate as nextTurn } from "node:timers/promises";
import { DawnLooks, type Look, paceDawn } from "../../kernels/dawn_looks.ts";

/** Milliseconds that a turn of the simulated event loop takes. */
const TURN = 0.001;

/** An event loop and Dawn on it, both simulated: work is done at a time, and whoever waits for it is told at the next look. */
class Simulation {
  time = 0;
  looks = 0;
  /** Looks that each collection let go of, and milliseconds that one takes. */
  readonly collected: number[] = [];
  collection = 4;
  #uncollected = 0;
  readonly dawn = new DawnLooks({
    now: () => this.time,
    nextTurn: (call, look) => this.#turns.push(() => call(look)),
    collect: () => {
      this.collected.push(this.looks - this.#uncollected);
      this.#uncollected = this.looks;
      this.time += this.collection;
    },
  });
  readonly #turns: (() => void)[] = [];
  readonly #work = new Set<{ readonly until: number; readonly done: () => void }>();
  #looking = false;

  /** Work that takes this many milliseconds, or fails after them. */
  start(milliseconds: number, failure?: Error): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#work.add({ until: this.time + milliseconds, done: () => failure === undefined ? resolve() : reject(failure) });
    this.#ask();
    return promise;
  }

  /** Turns the loop until this has settled. */
  async until<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    promise.then(() => settled = true, () => settled = true);
    for (let turn = 0; !settled; turn++) {
      assert(turn < 1e6, "the work is never noticed");
      this.time += TURN;
      for (const call of this.#turns.splice(0)) call();
      await nextMicrotasks();
    }
    return await promise;
  }

  #ask(): void {
    if (this.#looking) return;
    this.#looking = true;
    this.dawn.schedule(this.#look);
  }

  readonly #look: Look = () => {
    this.looks++;
    this.#looking = false;
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

describe("looks of Dawn", () => {
  it("are few for work that takes about as long each time, and come in time", async () => {
    const simulation = new Simulation();
    const wait = simulation.dawn.kind();
    for (const [i, duration] of [3, 3.1, 2.9, 3, 3.2, 2.8, 3].entries()) {
      const [began, looks] = [simulation.time, simulation.looks];
      await simulation.until(wait(simulation.start(duration)));
      const late = simulation.time - began - duration;
      assert(late >= 0 && late < 0.02 * duration, `wait ${i} was noticed ${late} ms late`);
      // A turn each would be 3000.
      if (i > 0) assert(simulation.looks - looks < 50, `${simulation.looks - looks} looks at wait ${i}`);
    }
  });

  it("come in time for work of unknown length", async () => {
    for (const duration of [0.002, 0.05, 1, 40]) {
      const simulation = new Simulation();
      await simulation.until(simulation.dawn.kind()(simulation.start(duration)));
      const late = simulation.time - duration;
      assert(late < 0.01 + 0.02 * duration, `${duration} ms of work were noticed ${late} ms late`);
      assert(simulation.looks < 1000, `${simulation.looks} looks in ${duration} ms`);
    }
  });

  it("come for the shorter of two waits, whichever began first", async () => {
    const simulation = new Simulation();
    const [long, short] = [simulation.dawn.kind(), simulation.dawn.kind()];
    await simulation.until(long(simulation.start(10)));
    await simulation.until(short(simulation.start(0.2)));
    const slow = long(simulation.start(10));
    for (let i = 0; i < 5; i++) {
      const began = simulation.time;
      await simulation.until(short(simulation.start(0.2)));
      assert(simulation.time - began < 0.22, `0.2 ms of work were noticed after ${simulation.time - began} ms`);
    }
    await simulation.until(slow);
    assert(simulation.time < 20.5, `the longer one was noticed at ${simulation.time} ms`);
  });

  it("are late once when work becomes shorter", async () => {
    const simulation = new Simulation();
    const wait = simulation.dawn.kind();
    for (let i = 0; i < 4; i++) await simulation.until(wait(simulation.start(4)));
    const times: number[] = [];
    for (let i = 0; i < 6; i++) {
      const began = simulation.time;
      await simulation.until(wait(simulation.start(1)));
      times.push(simulation.time - began);
    }
    assert(times[0] < 4, `${times[0]} ms`);
    assert(Math.max(...times.slice(1)) < 1.03, `${times} ms`);
  });

  it("are collected while there is time for it", async () => {
    const simulation = new Simulation();
    const wait = simulation.dawn.kind();
    for (let i = 0; i < 60; i++) {
      const began = simulation.time;
      await simulation.until(wait(simulation.start(50)));
      assert(i === 0 || simulation.time - began < 51, `50 ms of work took ${simulation.time - began} ms with its collection`);
    }
    assert(simulation.collected.length > 0, "none was collected");
    assert(Math.max(...simulation.collected) < 1000, `${simulation.collected} looks`);
  });

  it("are collected where there is no time for it, more at once where that takes long", async () => {
    const most = async (collection: number) => {
      const simulation = new Simulation();
      simulation.collection = collection;
      const wait = simulation.dawn.kind();
      for (let i = 0; i < 6000; i++) await simulation.until(wait(simulation.start(0.1)));
      return Math.max(...simulation.collected);
    };
    assertEquals(await most(1), 5000);
    const many = await most(30);
    assert(many > 6000 && many < 8000, `${many} looks at once`);
  });

  it("come for work that nobody said they wait for, and for work that fails", async () => {
    const simulation = new Simulation();
    await simulation.until(simulation.start(1));
    assert(simulation.time < 1.01 && simulation.looks <= 201, `noticed at ${simulation.time} ms, ${simulation.looks} looks`);
    const wait = simulation.dawn.kind();
    await assertRejects(() => simulation.until(wait(simulation.start(1, new Error("gone")))), Error, "gone");
    await simulation.until(wait(simulation.start(1)));
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
      setImmediate(new Proxy(() => called.push("look"), { get: (target, key) => key === "name" ? "" : Reflect.get(target, key) }));
      for (let turn = 0; turn < 1000 && !called.includes("look"); turn++) await nextTurn();
      assertEquals(called, [1, 2, 3, "look"]);
    } finally {
      globalThis.setImmediate = original;
    }
  });
});
