import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { RegisteredCell, type ServedCell } from "../../../cluster/cell/registered_cell.ts";
import type { CellFacts, CellRegistry } from "../../../core/registry/registry.ts";
import { MOST_SPILLED } from "../../../core/registry/cell_record.ts";
import { fingerprintOf } from "../../../core/registry/fingerprint.ts";
import { logged } from "../../support/logged.ts";

/** Remembers what a cell says of itself whenever it does so by itself. */
class Told implements CellRegistry {
  readonly name = "told:";
  readonly said: CellFacts[] = [];
  lose: (problem: string) => void = () => {};
  closed = false;

  register(facts: () => CellFacts, onLost: (problem: string) => void) {
    this.lose = onLost;
    const refresh = () => void this.said.push(facts());
    refresh();
    const close = () => Promise.resolve(void (this.closed = true));
    return Promise.resolve({ refresh, close, [Symbol.asyncDispose]: close });
  }

  watch(): never {
    throw new Error("nobody looks for cells here");
  }
}

const ARITHMETIC = {
  version: "1",
  weights: "w",
  basis: null,
  formats: {},
  cuts: {},
  maxContext: 64,
  devices: {},
  maxBatch: 4,
};

function served(arithmetic: ServedCell["arithmetic"], ready = true, scheduling = { active: 3, running: 2 }): ServedCell {
  return { model: { id: "m", created: 5, engine: { maxContext: 64, ready } }, scheduling, arithmetic };
}

describe("a server's place in a registry", () => {
  it("says what becomes of it: it loads, serves, knows what it equals, drains", async () => {
    const registry = new Told();
    await using cell = await RegisteredCell.register(registry, { url: "http://[::1]:8080", model: "later" });
    const arithmetic = Promise.withResolvers<typeof ARITHMETIC>();
    cell.serves(served(() => arithmetic.promise));
    assertEquals(cell.identity, { weights: null, fingerprint: null });
    arithmetic.resolve(ARITHMETIC);
    while (registry.said.length < 3) await new Promise((resolve) => setTimeout(resolve, 1));
    cell.drain();
    const fingerprint = await fingerprintOf(ARITHMETIC);
    assertEquals(registry.said.map(({ id, model, state, load, fingerprint }) => ({ id, model, state, load, fingerprint })), [
      { id: "1-8080", model: "later", state: "loading", load: { running: 0, waiting: 0 }, fingerprint: null },
      { id: "1-8080", model: "m", state: "ready", load: { running: 2, waiting: 1 }, fingerprint: null },
      { id: "1-8080", model: "m", state: "ready", load: { running: 2, waiting: 1 }, fingerprint },
      { id: "1-8080", model: "m", state: "draining", load: { running: 2, waiting: 1 }, fingerprint },
    ]);
    assertEquals(cell.identity, { weights: "w", fingerprint });
  });

  it("has no less than nothing to do where requests of a step were cancelled, which fronts could not read", async () => {
    const registry = new Told();
    await using cell = await RegisteredCell.register(registry, { url: "http://x", model: "m" });
    cell.serves(served(() => Promise.resolve(ARITHMETIC), true, { active: 1, running: 3 }));
    cell.drain();
    assertEquals(registry.said.at(-1)!.load, { running: 1, waiting: 0 });
  });

  it("serves where nobody can tell what it equals, and is not ready while its engine is not", async () => {
    const registry = new Told();
    const lines = await logged(async () => {
      await using cell = await RegisteredCell.register(registry, { url: "http://x", id: "own", model: "m" });
      cell.serves(served(() => Promise.reject(new Error("a disk is gone")), false));
      await new Promise((resolve) => setTimeout(resolve, 5));
      assertEquals(registry.said.map(({ id, state }) => [id, state]), [["own", "loading"], ["own", "loading"]]);
      assertEquals(cell.identity, { weights: null, fingerprint: null });
    });
    assert(lines.some((line) => line.startsWith("warning") && line.includes("a disk is gone")), lines.join("\n"));
    assertEquals(registry.closed, true);
  });

  it("tells whoever runs it that its name was taken", async () => {
    const registry = new Told();
    const lines = await logged(async () => {
      await using _cell = await RegisteredCell.register(registry, { url: "http://x", model: "m" });
      registry.lose("another process has its name");
    });
    assertEquals(lines.filter((line) => line.startsWith("error") && line.endsWith("another process has its name")).length, 1);
  });

  it("names the prefixes that came last, each once", async () => {
    const registry = new Told();
    await using cell = await RegisteredCell.register(registry, { url: "http://x", model: "m" });
    for (let i = 0; i < 3 * MOST_SPILLED; i++) cell.spilled(`${i % (MOST_SPILLED + 5)}`);
    cell.drain();
    const { spilled } = registry.said.at(-1)!;
    assertEquals([spilled.length, new Set(spilled).size, spilled[0]], [MOST_SPILLED, MOST_SPILLED, `${(3 * MOST_SPILLED - 1) % (MOST_SPILLED + 5)}`]);
  });
});
