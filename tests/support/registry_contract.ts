/**
 * What every registry must do, whatever it is made of.
 *
 * @module
 */
import { it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { cellFacts, cellRecord } from "../../bench/support/cell_records.ts";
import { LatentmeshError } from "../../core/errors.ts";
import { type CellRecord, writeRecord } from "../../core/registry/cell_record.ts";
import type { CellFacts, CellRegistry } from "../../core/registry/registry.ts";
import { until } from "../../bench/support/until.ts";

/** A registry of one kind, and what is behind it. */
export interface OpenRegistry extends AsyncDisposable {
  /** Whose cells beat, and whose watches look, as often as tests like. @param beatMs milliseconds between beats; default: few */
  registry(beatMs?: number): CellRegistry;
  /** Writes what no cell of this program writes. */
  write(id: string, text: string): Promise<void>;
  /** null: there is none. */
  read(id: string): Promise<string | null>;
  /** Undefined: it is of a kind that is there as long as its machine is. */
  readonly outage?: Outage;
}

/** Whatever keeps records goes, and comes back with nothing. */
export interface Outage {
  stop(): Promise<unknown>;
  startEmpty(): Promise<unknown>;
}

/** Milliseconds between beats of processes that wait for a sign of life of others: long beside what a busy machine makes of the beats of those. */
const PATIENT = 2000;

/** For cells that must not be lost. */
export function neverLost(problem: string): void {
  throw new Error(problem);
}

/** Tests of a kind of registry. @param test those that cannot be run are skipped */
export function testRegistry(open: () => Promise<OpenRegistry>, test: (name: string, body: () => Promise<void>) => unknown = it): void {
  test("has cells while they are registered, with what they say of themselves, also for who comes later", async () => {
    await using opened = await open();
    const registry = opened.registry();
    let changes = 0;
    await using watch = await registry.watch(() => changes++);
    assertEquals(watch.cells, []);
    let state: CellFacts["state"] = "loading";
    const cell = await registry.register(() => cellFacts({ id: "a.b", state }), neverLost);
    await using _other = await registry.register(() => cellFacts({ id: "other" }), neverLost);
    const own = () => watch.cells.find(({ id }) => id === "a.b");
    await until(() => watch.cells.length === 2);
    const { incarnation, beat, protocol } = own()!;
    assertEquals({ incarnation, protocol }, { incarnation: 1, protocol: 1 });
    await until(() => own()!.beat > beat);
    await using late = await registry.watch(() => {});
    assertEquals(late.cells.map(({ id }) => id).toSorted(), ["a.b", "other"]);
    state = "draining";
    cell.refresh();
    await until(() => own()!.state === "draining");
    await cell.close();
    await until(() => watch.cells.length === 1);
    assert(changes >= 4, `${changes} changes`);
    assertEquals(await opened.read("a.b"), null);
  });

  test("gives a cell the id of a dead one, but not of one that lives", async () => {
    await using opened = await open();
    const first = await opened.registry().register(() => cellFacts(), neverLost);
    const again = () => opened.registry(PATIENT).register(() => cellFacts({ url: "http://127.0.0.1:2" }), neverLost);
    const error = await assertRejects(again, LatentmeshError, "http://127.0.0.1:1");
    assertEquals([error.code, error.param], ["invalid_config", "cell.id"]);
    const text = (await opened.read("a"))!;
    await first.close();
    await opened.write("a", text);
    await using _second = await opened.registry(20).register(() => cellFacts({ url: "http://127.0.0.1:2" }), neverLost);
    assertEquals(JSON.parse((await opened.read("a"))!).incarnation, 2);
  });

  test("tells a cell once whose id another process has taken, of this release or a newer one, and it leaves the record alone", async () => {
    await using opened = await open();
    const takers: [id: string, record: object, told: string][] = [
      ["a", cellRecord({ id: "a", incarnation: 9, instance: "other", url: "http://127.0.0.1:9" }), "http://127.0.0.1:9"],
      ["b", { protocol: 2, whatever: "it is" }, "newer release"],
    ];
    for (const [id, record, told] of takers) {
      const losses: string[] = [];
      const first = await opened.registry().register(() => cellFacts({ id }), (problem) => losses.push(problem));
      const text = JSON.stringify(record);
      // A beat that is being written may come after it.
      await until(async () => {
        await opened.write(id, text);
        await new Promise((resolve) => setTimeout(resolve, 30));
        return losses.length > 0;
      });
      assertStringIncludes(losses[0], told);
      assertStringIncludes(losses[0], "--cell-id");
      first.refresh();
      await first.close();
      assertEquals([losses.length, await opened.read(id)], [1, text]);
    }
  });

  test("has one of two processes that take a name at once, and tells the other", async () => {
    await using opened = await open();
    const lost: string[] = [];
    const urls = ["http://127.0.0.1:1", "http://127.0.0.1:2"];
    // Whoever comes a little later finds a cell that lives, and is refused.
    const refuse = (url: string) => (error: Error) => {
      assertStringIncludes(error.message, "a cell that lives has this id");
      lost.push(url);
      return null;
    };
    const both = await Promise.all(urls.map((url) => opened.registry().register(() => cellFacts({ url }), () => lost.push(url)).catch(refuse(url))));
    await using watch = await opened.registry().watch(() => {});
    await until(() => lost.length === 1 && watch.cells.length === 1 && watch.cells[0].url !== lost[0]);
    const { beat } = watch.cells[0];
    await until(() => watch.cells[0].beat > beat + 2);
    assertEquals(lost.length, 1);
    for (const one of both) await one?.close();
  });

  test("reads what it can beside records that nobody can read, whose names may be taken, and writes its own again", async () => {
    await using opened = await open();
    const spoilt: Record<string, string> = {
      "b": "x".repeat(100_000),
      "c": JSON.stringify({ protocol: 2 }),
      "d": "",
      "e": writeRecord({ ...cellRecord({ id: "e" }), state: "asleep" as CellRecord["state"] }),
    };
    for (const [id, text] of Object.entries(spoilt)) await opened.write(id, text);
    await using watch = await opened.registry().watch(() => {});
    await using _cell = await opened.registry().register(() => cellFacts(), neverLost);
    await until(() => watch.cells.length === 1);
    await opened.write("a", "{");
    const { beat } = watch.cells[0];
    await until(() => watch.cells[0]?.beat > beat + 2);
    for (const id of Object.keys(spoilt)) {
      await using _taken = await opened.registry(4).register(() => cellFacts({ id }), neverLost);
      await until(() => watch.cells.some((cell) => cell.id === id));
    }
  });

  test("refuses a record that nobody could read", async () => {
    await using opened = await open();
    for (const wrong of [{ id: "../a" }, { id: "" }, { url: "ftp://x" }, { model: "" }]) {
      const error = await assertRejects(() => opened.registry().register(() => cellFacts(wrong), neverLost), LatentmeshError);
      assertEquals(error.code, "invalid_config");
    }
  });

  test("takes cells for gone that are silent, and leaves their records", async () => {
    await using opened = await open();
    await opened.write("silent", writeRecord(cellRecord({ id: "silent" })));
    await using watch = await opened.registry().watch(() => {});
    assertEquals(watch.cells.map(({ id }) => id), ["silent"]);
    await until(() => watch.cells.length === 0);
    assert(await opened.read("silent") !== null, "readers remove nothing");
  });

  test("keeps cells while what keeps its records is away, also where that comes back with nothing", async () => {
    await using opened = await open();
    const { outage } = opened;
    if (outage === undefined) return;
    const registry = opened.registry();
    await using _cell = await registry.register(() => cellFacts(), neverLost);
    await using watch = await registry.watch(() => {});
    const gone: number[] = [];
    const checker = setInterval(() => watch.cells.length === 0 && gone.push(watch.age), 5);
    try {
      for (let time = 0; time < 2; time++) {
        const [{ beat }] = watch.cells;
        await outage.stop();
        await until(() => watch.age > 200);
        assertEquals(watch.cells.length, 1);
        await outage.startEmpty();
        // The beat that is new was kept by what has come back.
        await until(async () => watch.age < 100 && watch.cells[0]?.beat > beat + 2 && await opened.read("a") !== null);
      }
    } finally {
      clearInterval(checker);
    }
    assertEquals(gone, [], "no cell was given up");
  });
}
