import { afterEach, beforeEach, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { CellFacts } from "../../../core/registry/registry.ts";
import { FileRegistry } from "../../../cluster/registry/file_registry.ts";
import { openRegistry } from "../../../cluster/registry/open_registry.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { until } from "../../support/cluster.ts";

const FACTS: CellFacts = {
  id: "a",
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
const TIMES = { beatMs: 20, pollMs: 10, ttlMs: 1000 };

describe("a registry in a directory", () => {
  let directory: string;
  let registry: FileRegistry;
  beforeEach(async () => {
    directory = await Deno.makeTempDir();
    registry = new FileRegistry(directory, TIMES);
  });
  afterEach(() => Deno.remove(directory, { recursive: true }));

  const fail = (problem: string) => {
    throw new Error(problem);
  };

  it("has a cell while it is registered, with what it says of itself", async () => {
    let changes = 0;
    await using watch = await registry.watch(() => changes++);
    assertEquals(watch.cells, []);
    let state: CellFacts["state"] = "loading";
    const cell = await registry.register(() => ({ ...FACTS, state }), fail);
    await until(() => watch.cells.length === 1);
    const [{ id, incarnation, beat, protocol }] = watch.cells;
    assertEquals({ id, incarnation, protocol }, { id: "a", incarnation: 1, protocol: 1 });
    await until(() => watch.cells[0].beat > beat);
    state = "draining";
    cell.refresh();
    await until(() => watch.cells[0].state === "draining");
    await cell.close();
    await until(() => watch.cells.length === 0);
    assert(changes >= 3 && watch.age < 60_000);
    assertEquals([...Deno.readDirSync(directory)], []);
  });

  it("lets a cell take the id of a dead one, but not of one that lives", async () => {
    const first = await registry.register(() => FACTS, fail);
    const again = () => registry.register(() => ({ ...FACTS, url: "http://127.0.0.1:2" }), fail);
    const error = await assertRejects(again, LatentmeshError);
    assertEquals([error.code, error.param], ["invalid_config", "cell.id"]);
    assertStringIncludes(error.message, "http://127.0.0.1:1");
    const text = await Deno.readTextFile(`${directory}/a.cell.json`);
    await first.close();
    await Deno.writeTextFile(`${directory}/a.cell.json`, text);
    await using second = await again();
    assertEquals(JSON.parse(await Deno.readTextFile(`${directory}/a.cell.json`)).incarnation, 2);
    void second;
  });

  it("tells a cell whose id was taken, which then leaves the record alone", async () => {
    const lost = Promise.withResolvers<string>();
    const first = await registry.register(() => FACTS, lost.resolve);
    const path = `${directory}/a.cell.json`;
    const newer = JSON.stringify({ ...JSON.parse(await Deno.readTextFile(path)), incarnation: 9, instance: "other", url: "http://127.0.0.1:9" });
    // A beat that is being written may come after it.
    await until(async () => {
      await Deno.writeTextFile(path, newer);
      return await Promise.race([lost.promise.then(() => true), new Promise<false>((resolve) => setTimeout(resolve, 30, false))]);
    });
    assertStringIncludes(await lost.promise, "http://127.0.0.1:9");
    await first.close();
    assertEquals(await Deno.readTextFile(path), newer);
  });

  it("writes a record again that was lost, and keeps what was last seen while the directory is away", async () => {
    await using cell = await registry.register(() => FACTS, fail);
    await using watch = await registry.watch(() => {});
    void cell;
    const away = `${directory}-away`;
    await Deno.rename(directory, away);
    await Deno.writeTextFile(directory, "no directory");
    const age = watch.age;
    await until(() => watch.age > age + 50);
    assertEquals(watch.cells.length, 1);
    await Deno.remove(directory);
    await Deno.remove(away, { recursive: true });
    await until(() => watch.cells[0]?.beat > 0 && watch.age < 50);
    await until(async () => (await Deno.stat(`${directory}/a.cell.json`).catch(() => null)) !== null);
  });

  it("overlooks other files, and records that cannot be used", async () => {
    await Deno.mkdir(`${directory}/x.cell.json`);
    await Deno.writeTextFile(`${directory}/README`, "hello");
    await Deno.writeTextFile(`${directory}/b.cell.json`, "x".repeat(100_000));
    await Deno.writeTextFile(`${directory}/c.cell.json`, JSON.stringify({ protocol: 2 }));
    await using cell = await registry.register(() => FACTS, fail);
    await using watch = await registry.watch(() => {});
    void cell;
    assertEquals(watch.cells.map(({ id }) => id), ["a"]);
  });

  it("must be there to be read, and be of a kind that there is", async () => {
    const error = await assertRejects(() => new FileRegistry(`${directory}/none`).watch(() => {}), LatentmeshError);
    assertStringIncludes(error.message, "create the directory");
    assertEquals(openRegistry("file:///srv/cells").name, "file:/srv/cells");
    try {
      openRegistry("redis://x");
      fail("it was opened");
    } catch (error) {
      assertEquals((error as LatentmeshError).code, "invalid_config");
    }
  });
});
