import { afterEach, beforeEach, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { cellFacts } from "../../../bench/support/cell_records.ts";
import { FileRegistry } from "../../../cluster/registry/file_registry.ts";
import { openRegistry } from "../../../cluster/registry/open_registry.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { until } from "../../../bench/support/until.ts";
import { logged } from "../../support/logged.ts";
import { neverLost, type OpenRegistry, testRegistry } from "../../support/registry_contract.ts";

const TIMES = { beatMs: 20, pollMs: 10, ttlMs: 4000 };

async function open(): Promise<OpenRegistry> {
  const directory = await Deno.makeTempDir();
  const path = (id: string) => `${directory}/${id}.cell.json`;
  return {
    registry: (beatMs = TIMES.beatMs) => new FileRegistry(directory, { ...TIMES, beatMs }),
    write: (id, text) => Deno.writeTextFile(path(id), text),
    read: (id) => Deno.readTextFile(path(id)).catch(() => null),
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}

describe("a registry in a directory", () => {
  testRegistry(open);

  let directory: string;
  let registry: FileRegistry;
  beforeEach(async () => {
    directory = await Deno.makeTempDir();
    registry = new FileRegistry(directory, TIMES);
  });
  afterEach(() => Deno.remove(directory, { recursive: true }));

  it("leaves nothing behind", async () => {
    const cell = await registry.register(() => cellFacts(), neverLost);
    await cell.close();
    assertEquals([...Deno.readDirSync(directory)], []);
  });

  it("writes a record again that was lost, and keeps what was last seen while the directory is away", async () => {
    await using _cell = await registry.register(() => cellFacts(), neverLost);
    await using watch = await registry.watch(() => {});
    const away = `${directory}-away`;
    await Deno.rename(directory, away);
    await Deno.writeTextFile(directory, "no directory");
    // What is not read any more is not believed to be new.
    const age = watch.age;
    await until(() => watch.age > age + 50);
    const [{ beat }] = watch.cells;
    await Deno.remove(directory);
    await Deno.remove(away, { recursive: true });
    await until(() => watch.cells[0].beat > beat);
    await until(async () => (await Deno.stat(`${directory}/a.cell.json`).catch(() => null)) !== null);
  });

  it("reads other records where one cannot be read, and overlooks what is none", async () => {
    await Deno.mkdir(`${directory}/x.cell.json`);
    await Deno.writeTextFile(`${directory}/README`, "hello");
    assert((await new Deno.Command("mkfifo", { args: [`${directory}/pipe.cell.json`] }).output()).success);
    // Nobody may read it, whoever they are: it leads to itself.
    await Deno.symlink(`${directory}/b.cell.json`, `${directory}/b.cell.json`);
    const lines = await logged(async () => {
      await using watch = await registry.watch(() => {});
      await using _cell = await registry.register(() => cellFacts(), neverLost);
      await until(() => watch.cells.length === 1);
      const [{ beat }] = watch.cells;
      await until(() => watch.cells[0].beat > beat + 2);
      assertEquals(watch.cells.map(({ id }) => id), ["a"]);
    });
    assertEquals(lines.filter((line) => line.startsWith("warning") && line.includes("b.cell.json is left out: it cannot be read")).length, 1);
  });

  it("must be there to be read, and be of a kind that there is", async () => {
    await assertRejects(() => new FileRegistry(`${directory}/none`).watch(() => {}), LatentmeshError, "create the directory");
    assertEquals(openRegistry("file:///srv/cells").name, "file:/srv/cells");
    assertEquals(assertThrows(() => openRegistry("redis://x"), LatentmeshError).code, "invalid_config");
  });
});
