import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { cellEvents, frontState, frontText, frontValues, likenessOf, modelsOf } from "../../../../cluster/http/dashboard/cluster/cells.js";

type Cell = Parameters<typeof cellEvents>[0][number];

function cell(id: string, change: Partial<Cell> = {}): Cell {
  return {
    id,
    url: `http://${id}`,
    model: "tiny",
    maxContext: 64,
    state: "ready",
    fingerprint: "f",
    load: { running: 0, waiting: 0 },
    requestsOfThisFront: 0,
    ...change,
  };
}

const statusOf = (cells: Cell[], change: object = {}) => ({
  front: { registry: "nats://one", registryAgeMs: 200, ready: true, requestsInFlight: 3, ...change },
  cells,
});

describe("the page of a front", () => {
  it("says what it is, and how old what it knows", () => {
    assertEquals(frontText(statusOf([cell("a")])), "A front of a cell, from nats://one.");
    assertEquals(
      frontText(statusOf([cell("a"), cell("b")], { registryAgeMs: 70_000 })),
      "A front of 2 cells, from nats://one, which was last read 1 min ago.",
    );
  });

  it("is up with a cell that takes requests, and says what all of them are at", () => {
    const cells = [cell("a", { load: { running: 2, waiting: 1 } }), cell("b", { load: { running: 5, waiting: 0 }, state: "draining" })];
    assertEquals(frontState(statusOf(cells)), ["7 answering · 1 waiting", "up"]);
    assertEquals(frontState(statusOf([cell("a")])), ["ready", "up"]);
    assertEquals(frontState(statusOf([cell("a", { state: "loading" })], { ready: false })), ["no cell takes requests", "down"]);
    assertEquals(frontState(statusOf([], { ready: false })), ["no cell is there", "down"]);
    assertEquals(frontValues(statusOf(cells)), { running: 7, waiting: 1, own: 3, ready: 1 });
  });

  it("offers the models of all cells, of each the longest context", () => {
    const cells = [cell("a", { model: "z" }), cell("b", { model: "z", maxContext: 128 }), cell("c", { model: "m", state: "loading" })];
    const { model, maxContext, models } = modelsOf(cells);
    assertEquals([model, maxContext, models.map(({ id, state, maxContext }) => [id, state, maxContext])], [
      "m",
      64,
      [["z", "loaded", 128], ["m", "loading", 64]],
    ]);
    assertEquals(modelsOf([]), { model: "", maxContext: null, models: [] });
  });

  it("has a letter for what gives the same answers, and none for what is not known", () => {
    const letters = likenessOf([
      cell("a", { fingerprint: "y" }),
      cell("b", { fingerprint: "x" }),
      cell("c", { fingerprint: null }),
      cell("d", { fingerprint: "y" }),
    ]);
    assertEquals([...letters], [["x", "A"], ["y", "B"]]);
  });

  it("tells of cells that come and go, and whether that was meant", () => {
    const events = cellEvents([cell("a"), cell("b", { state: "draining" }), cell("c")], [cell("c"), cell("d", { state: "loading" })]);
    assertEquals(events, [{ good: false, text: "cell a is gone" }, { good: true, text: "cell b is gone" }, { good: true, text: "cell d is there" }]);
  });
});
