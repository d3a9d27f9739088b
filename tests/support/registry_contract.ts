/**
 * What every registry promises, whatever keeps its records.
 *
 * @module
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { LatentmeshError } from "../../core/errors.ts";
import type { CellFacts, CellRegistry } from "../../core/registry/registry.ts";
import { until } from "./cluster.ts";

/** A registry, and what keeps its records, with the means to break it. */
export interface KeptRegistry extends AsyncDisposable {
  readonly registry: CellRegistry;
  /** Texts of records as they are kept, by ids of cells. */
  records(): Promise<ReadonlyMap<string, string>>;
  /** Keeps another text for a cell, past the registry. */
  keep(id: string, text: string): Promise<void>;
  /** Whatever keeps records is gone. */
  stop(): Promise<void>;
  /** It is back, with nothing. */
  startEmpty(): Promise<void>;
}

/** What a cell says. */
export const FACTS: CellFacts = {
  id: "a.b",
  url: "http://127.0.0.1:1",
  version: "0",
  model: "tiny",
  created: 1,
  maxContext: 64,
  weights: null,
  fingerprint: null,
  state: "ready",
  load: { running: 0, waiting: 0 },
  spilled: [],
};

const fail = (problem: string) => {
  throw new Error(problem);
};

/** Tests a kind of registry. */
export function describeRegistry(name: string, open: () => Promise<KeptRegistry>): void {
  const withKept = (title: string, test: (kept: KeptRegistry) => Promise<void>) => {
    it(title, async () => {
      await using kept = await open();
      await test(kept);
    });
  };

  describe(name, () => {
    withKept("has cells while they are registered, with what they say of themselves", async ({ registry, records }) => {
      let changes = 0;
      await using watch = await registry.watch(() => changes++);
      assertEquals(watch.cells, []);
      let state: CellFacts["state"] = "loading";
      const cell = await registry.register(() => ({ ...FACTS, state }), fail);
      await using _other = await registry.register(() => ({ ...FACTS, id: "Other_1", url: "http://127.0.0.1:2" }), fail);
      await until(() => watch.cells.length === 2);
      const own = () => watch.cells.find(({ id }) => id === FACTS.id);
      const { beat, incarnation, protocol, instance, ...facts } = own()!;
      assertEquals([incarnation, protocol], [1, 1]);
      assertEquals(facts, { ...FACTS, state: "loading" });
      await until(() => own()!.beat > beat);
      // Whoever comes later is told of those that are there.
      await using late = await registry.watch(() => {});
      await until(() => late.cells.length === 2);
      state = "draining";
      cell.refresh();
      await until(() => own()!.state === "draining" && late.cells.some((one) => one.state === "draining"));
      assertEquals(own()!.instance, instance);
      await cell.close();
      await until(() => watch.cells.length === 1 && late.cells.length === 1);
      assert(changes >= 4 && watch.age < 60_000);
      assertEquals([...(await records()).keys()], ["Other_1"]);
    });

    withKept("lets a cell take the id of a dead one, but not of one that lives", async ({ registry, records, keep }) => {
      const first = await registry.register(() => FACTS, fail);
      const again = () => registry.register(() => ({ ...FACTS, url: "http://127.0.0.1:2" }), fail);
      const error = await assertRejects(again, LatentmeshError);
      assertEquals([error.code, error.param], ["invalid_config", "cell.id"]);
      assertStringIncludes(error.message, "http://127.0.0.1:1");
      const text = (await records()).get(FACTS.id)!;
      await first.close();
      await keep(FACTS.id, text);
      await using _second = await again();
      const { incarnation, url } = JSON.parse((await records()).get(FACTS.id)!);
      assertEquals([incarnation, url], [2, "http://127.0.0.1:2"]);
    });

    withKept("tells a cell whose id was taken, which then leaves the record alone", async ({ registry, records, keep }) => {
      const lost = Promise.withResolvers<string>();
      const cell = await registry.register(() => FACTS, lost.resolve);
      const newer = JSON.stringify({
        ...JSON.parse((await records()).get(FACTS.id)!),
        incarnation: 9,
        instance: "other",
        url: "http://127.0.0.1:9",
      });
      // A beat that is being written may come after it.
      await until(async () => {
        await keep(FACTS.id, newer);
        return await Promise.race([lost.promise.then(() => true), new Promise<false>((resolve) => setTimeout(resolve, 100, false))]);
      });
      assertStringIncludes(await lost.promise, "http://127.0.0.1:9");
      await cell.close();
      assertEquals((await records()).get(FACTS.id), newer);
    });

    withKept("has one of two processes that take a name at once, and tells the other", async ({ registry }) => {
      const lost: string[] = [];
      const urls = ["http://127.0.0.1:1", "http://127.0.0.1:2"];
      await using stack = new AsyncDisposableStack();
      // Whoever comes a little later finds a cell that lives, and is refused.
      const refuse = (url: string) => (error: Error) => {
        assertStringIncludes(error.message, "a cell that lives has this id");
        lost.push(url);
        return null;
      };
      const cells = urls.map((url) => registry.register(() => ({ ...FACTS, url }), () => lost.push(url)).catch(refuse(url)));
      for (const cell of await Promise.all(cells)) if (cell !== null) stack.use(cell);
      await using watch = await registry.watch(() => {});
      await until(() => lost.length === 1 && watch.cells.length === 1 && watch.cells[0].url !== lost[0]);
      const [{ beat }] = watch.cells;
      await until(() => watch.cells[0].beat > beat + 2);
      assertEquals(lost.length, 1);
    });

    withKept("keeps cells while it cannot be reached, and writes records again that are lost", async ({ registry, records, stop, startEmpty }) => {
      await using _cell = await registry.register(() => FACTS, fail);
      await using watch = await registry.watch(() => {});
      const gone: number[] = [];
      const checker = setInterval(() => watch.cells.length === 0 && gone.push(watch.age), 5);
      try {
        for (let time = 0; time < 2; time++) {
          const [{ beat }] = watch.cells;
          await stop();
          await until(() => watch.age > 200);
          await startEmpty();
          await until(async () => watch.age < 100 && watch.cells[0]?.beat > beat + 2 && (await records()).has(FACTS.id));
        }
      } finally {
        clearInterval(checker);
      }
      assertEquals(gone, [], "no cell was given up");
    });

    withKept("takes cells for gone that are silent, and overlooks records that cannot be used", async ({ registry, records, keep }) => {
      const cell = await registry.register(() => FACTS, fail);
      const text = (await records()).get(FACTS.id)!;
      await cell.close();
      await keep("newer", JSON.stringify({ ...JSON.parse(text), id: "newer", protocol: 2 }));
      await keep("torn", text.slice(0, 20));
      await keep("silent", JSON.stringify({ ...JSON.parse(text), id: "silent" }));
      await using watch = await registry.watch(() => {});
      assertEquals(watch.cells.map(({ id }) => id), ["silent"]);
      await until(() => watch.cells.length === 0);
      assertEquals([...(await records()).keys()].toSorted(), ["newer", "silent", "torn"], "readers remove nothing");
    });
  });
}
