/**
 * Which of several models are loaded, and when: a pool over models of a test that load and unload when the test says.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { ModelPool, type PoolOptions } from "../../../cluster/models/model_pool.ts";
import type { Pooled, PoolModel } from "../../../cluster/models/model_slot.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { until } from "../../../bench/support/until.ts";

interface Fake extends Pooled {
  readonly name: string;
  fail(error: Error): void;
}

type Change = Partial<PoolOptions<Fake>> & { readonly each?: Partial<PoolModel> };

/** A pool, and what happens in it. */
function poolOf(names: string, { each, ...change }: Change = {}) {
  const events: string[] = [];
  const there = new Set<string>();
  const pool = new ModelPool<Fake>({
    models: [...names].map((name) => ({ name, idleSeconds: 1000, keepLoaded: false, ...each })),
    fetch: () => Promise.resolve(),
    fits: () => Promise.resolve(true),
    load: (name) => {
      events.push(`+${name}`);
      there.add(name);
      const { promise: failed, reject: fail } = Promise.withResolvers<never>();
      return Promise.resolve({
        name,
        failed,
        fail,
        close: () => {
          events.push(`-${name}`);
          there.delete(name);
          return Promise.resolve();
        },
      });
    },
    ...change,
  });
  const once = async (name: string) => (await pool.use(name)).release();
  return { pool, events, there, once, states: () => pool.states.map(({ name, state }) => `${name} ${state}`).join(", ") };
}

/** Lets everything happen that waits for nothing but its turn. */
const settle = () => new Promise((resolve) => setTimeout(resolve, 0));

describe("a pool of models", () => {
  it("loads a model when it is asked for, once for all who ask meanwhile, and keeps it", async () => {
    const { pool, events, once, states } = poolOf("ab");
    assertEquals(states(), "a unloaded, b unloaded");
    const uses = await Promise.all(["a", "a", "b", "a"].map((name) => pool.use(name)));
    assertEquals([events, uses.map(({ value }) => value.name).join("")], [["+a", "+b"], "aaba"]);
    for (const { release } of uses) release();
    await once("a");
    assertEquals([events.length, states()], [2, "a loaded, b loaded"]);
    assertEquals((await assertRejects(() => pool.use("c"), LatentmeshError)).code, "not_found");
    await pool.close();
    assertEquals(events.slice(2).toSorted(), ["-a", "-b"]);
    assertEquals((await assertRejects(() => pool.use("a"), LatentmeshError)).code, "capacity");
  });

  it("makes room by what was used longest ago, and never by what is in use or kept", async () => {
    const { pool, events, once } = poolOf("abcd", { maxLoaded: 2 });
    await once("a");
    await once("b");
    await once("a");
    await once("c");
    assertEquals(events, ["+a", "+b", "-b", "+c"]);
    const a = await pool.use("a");
    await once("d");
    await once("b");
    assertEquals(events.slice(4), ["-c", "+d", "-d", "+b"]);
    a.release();
    await pool.close();
    const kept = poolOf("ab", { each: { keepLoaded: true, idleSeconds: 0 }, fits: () => Promise.resolve(false) });
    await kept.pool.loadKept();
    await settle();
    // None of them makes room: the other is tried nevertheless.
    assertEquals(kept.events, ["+a", "+b"]);
    await kept.pool.close();
  });

  it("waits for models in use, of which no more is asked until the one that waits has its room", async () => {
    const { pool, events } = poolOf("ab", { maxLoaded: 1 });
    const first = await pool.use("a");
    const order: string[] = [];
    const ask = async (name: string) => {
      const use = await pool.use(name);
      order.push(name);
      use.release();
    };
    const asked = [ask("b")];
    await settle();
    asked.push(ask("a"));
    await settle();
    assertEquals([events, order], [["+a"], []]);
    first.release();
    await Promise.all(asked);
    assertEquals([events, order], [["+a", "-a", "+b", "-b", "+a"], ["b", "a"]]);
    await pool.close();
  });

  it("gives up loading what nobody waits for any more, and lets others have what they use", async () => {
    const { pool, events } = poolOf("ab", { maxLoaded: 1 });
    const first = await pool.use("a");
    const abort = new AbortController();
    const waiting = assertRejects(() => pool.use("b", abort.signal), LatentmeshError, "the client has gone");
    await settle();
    const other = pool.use("a");
    await settle();
    abort.abort(new LatentmeshError("cancelled", "the client has gone"));
    await waiting;
    (await other).release();
    first.release();
    assertEquals(events, ["+a"]);
    // Asked for again, it is loaded.
    (await pool.use("b")).release();
    assertEquals(events, ["+a", "-a", "+b"]);
    await pool.close();
  });

  it("sees what changes while it is looked whether there is room", async () => {
    const before = new LatentmeshError("cancelled", "the client has gone");
    // Whoever waits goes; the model in use is lost; the pool is closed.
    for (const change of ["gone", "lost", "closed"]) {
      const looking = Promise.withResolvers<void>();
      const looked = Promise.withResolvers<void>();
      let first = true;
      const { pool, there, once } = poolOf("abc", {
        fits: async (name) => {
          if (name !== "b") return true;
          if (first) looking.resolve(), await looked.promise;
          first = false;
          return !there.has("a");
        },
      });
      const a = await pool.use("a");
      await once("c");
      await pool.use("c");
      const client = new AbortController();
      const asked = pool.use("b", client.signal).then(({ release }) => release()).catch((error) => error);
      await looking.promise;
      if (change === "gone") client.abort(before);
      else if (change === "lost") a.value.fail(new Error("lost"));
      const closed = change === "closed" ? pool.close() : undefined;
      await settle();
      looked.resolve();
      const outcome = await asked;
      assertEquals(outcome?.message, { gone: before.message, lost: undefined, closed: "The server is stopping" }[change]);
      // Nobody holds back others any more.
      if (change !== "closed") (await pool.use("c")).release();
      await (closed ?? pool.close());
    }
  });

  it("makes room by memory, as reckoned and as found out", async () => {
    const sizes: Record<string, number> = { a: 4, b: 3, c: 5 };
    const reckoned = poolOf("abc", { fits: (name) => Promise.resolve([...reckoned.there].reduce((sum, one) => sum + sizes[one], sizes[name]) <= 8) });
    for (const name of "abc") await reckoned.once(name);
    assertEquals(reckoned.events, ["+a", "+b", "-a", "+c"]);
    await reckoned.pool.close();
    const found = poolOf("abc");
    const { pool } = poolOf("abc", {
      load: (name) => {
        if (found.there.size > 1) return Promise.reject(new LatentmeshError("out_of_memory", "too much"));
        found.there.add(name);
        return Promise.resolve({
          name,
          failed: new Promise<never>(() => {}),
          fail() {},
          close: () => Promise.resolve(void found.there.delete(name)),
        });
      },
    });
    for (const name of "abc") (await pool.use(name)).release();
    assertEquals([...found.there], ["b", "c"]);
    const [b, c] = [await pool.use("b"), await pool.use("c")];
    // Nobody who is idle is left to make room.
    await assertRejects(() => pool.use("a"), LatentmeshError, "too much");
    for (const { release } of [b, c]) release();
    await pool.close();
  });

  it("says why a model cannot be loaded, and tries again for the next who asks", async () => {
    let broken = true;
    const { pool, once } = poolOf("ab", {
      fetch: (name) => broken && name === "a" ? Promise.reject(new LatentmeshError("not_found", "no such file")) : Promise.resolve(),
    });
    await Promise.all([1, 2].map(() => assertRejects(() => pool.use("a"), LatentmeshError, "no such file")));
    assertEquals(pool.states.map(({ state, error }) => [state, error?.message ?? null]), [["unloaded", "no such file"], ["unloaded", null]]);
    broken = false;
    await once("a");
    assertEquals(pool.states[0].error, null);
    await pool.close();
  });

  it("loads one although another, which makes room for it, was not unloaded in order, and closes all whichever cannot be", async () => {
    const closed: string[] = [];
    const { pool, once, states } = poolOf("abc", {
      maxLoaded: 2,
      load: (name) =>
        Promise.resolve({
          name,
          failed: new Promise<never>(() => {}),
          fail() {},
          close: () => Promise.reject(new Error(`${closed.push(name)}: out of order`)),
        }),
    });
    for (const name of "abc") await once(name);
    assertEquals([closed, states()], [["a"], "a unloaded, b loaded, c loaded"]);
    await pool.close();
    assertEquals([closed, states()], [["a", "b", "c"], "a unloaded, b unloaded, c unloaded"]);
  });

  it("gives up a download when it is closed", async () => {
    const { pool } = poolOf("a", {
      fetch: (_, __, signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
    });
    const asked = assertRejects(() => pool.use("a"), LatentmeshError, "The server is stopping");
    await settle();
    await pool.close();
    assertEquals([(await asked).code, pool.states[0].error], ["capacity", null], "that says nothing of the model");
  });

  it("unloads what nobody has asked for in a while, and what is lost, which is loaded again", async () => {
    const { pool, events, once } = poolOf("a", { each: { idleSeconds: 0 } });
    const first = await pool.use("a");
    await settle();
    assertEquals(events, ["+a"], "it is in use");
    first.release();
    await until(() => events.length >= 2);
    const { value, release } = await pool.use("a");
    value.fail(new Error("the device is gone"));
    await until(() => events.length >= 4);
    release();
    await once("a");
    assertEquals(events.slice(0, 5), ["+a", "-a", "+a", "-a", "+a"]);
    await pool.close();
  });

  it("loads nothing in the place of what is lost before that is gone, and ends only then; one that cannot be closed troubles nobody", async () => {
    let open = 0;
    let most = 0;
    const { pool } = poolOf("ab", {
      maxLoaded: 1,
      load: (name) => {
        most = Math.max(most, ++open);
        const { promise: failed, reject: fail } = Promise.withResolvers<never>();
        const close = async () => {
          await settle();
          open--;
          if (name === "a") throw new Error("out of order");
        };
        return Promise.resolve({ name, failed, fail, close });
      },
    });
    for (const name of ["a", "a", "b", "a", "b"]) {
      const lease = await pool.use(name);
      lease.value.fail(new Error("lost"));
      await Promise.resolve();
      lease.release();
    }
    await pool.close();
    assertEquals([most, open], [1, 0]);
  });

  it("holds no more than it may and unloads nothing in use, whatever is asked for in whatever order", async () => {
    const step = fc.record({ name: fc.constantFrom(..."abcd"), release: fc.boolean(), abort: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.integer({ min: 1, max: 3 }), async (steps, maxLoaded) => {
        const held = new Map<string, number>();
        const wrong: string[] = [];
        const { pool, there } = poolOf("abcd", {
          maxLoaded,
          load: (name) => {
            there.add(name);
            if (there.size > maxLoaded) wrong.push(`${there.size} are loaded`);
            const close = () => {
              if ((held.get(name) ?? 0) > 0) wrong.push(`${name} was in use`);
              there.delete(name);
              return Promise.resolve();
            };
            return settle().then(() => ({ name, failed: new Promise<never>(() => {}), fail() {}, close }));
          },
        });
        const uses: (() => void)[] = [];
        const asked = steps.map(async ({ name, abort }, i) => {
          const controller = new AbortController();
          if (abort) setTimeout(() => controller.abort(), i % 5);
          const use = await pool.use(name, controller.signal).catch(() => null);
          if (use === null) return;
          held.set(name, (held.get(name) ?? 0) + 1);
          uses.push(() => {
            held.set(name, held.get(name)! - 1);
            use.release();
          });
        });
        let ended = false;
        const all = Promise.all(asked).then(() => ended = true);
        // Whoever waits gets what it asked for as long as others give back what they have.
        for (let turn = 0; !ended && turn < 2000; turn++) {
          uses.shift()?.();
          await settle();
        }
        assert(ended, "somebody waits for ever");
        await all;
        for (const release of uses) release();
        assertEquals(wrong, []);
        await pool.close();
        assertEquals(there.size, 0);
      }),
      { numRuns: 30, seed: 7 },
    );
  });
});
