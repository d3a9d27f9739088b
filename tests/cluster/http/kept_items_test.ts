import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertThrows } from "@std/assert";
import { HttpError } from "../../../cluster/api/errors.ts";
import { KeptItems } from "../../../cluster/http/kept_items.ts";

/** An item of some 200 bytes. */
const item = (id: string) => ({ id, text: "x".repeat(80 - id.length) });

describe("items of responses", () => {
  const known = (items: KeptItems, client: string, ids: readonly string[]) =>
    ids.filter((id) => {
      try {
        return items.find(client, [id])[id] === JSON.stringify(item(id));
      } catch {
        return false;
      }
    });

  it("are kept for their client, the newest as long as there is room", () => {
    const items = new KeptItems({ mostBytes: 1000, mostOfClient: 500 });
    items.keep("a", ["a1", "a2"].map(item));
    items.keep("a", [item("a3")]);
    assertEquals(known(items, "a", ["a1", "a2", "a3"]), ["a2", "a3"]);
    assertEquals(known(items, "b", ["a3"]), []);
    const error = assertThrows(() => items.find("a", ["a1"]), HttpError);
    assertEquals([error.status, error.fields.param], [404, "input"]);
  });

  it("go, where all is taken, with the client that was heard of longest ago", () => {
    const items = new KeptItems({ mostBytes: 1000, mostOfClient: 500 });
    for (const client of ["a", "b", "c"]) items.keep(client, [1, 2].map((i) => item(`${client}${i}`)));
    assertEquals([known(items, "a", ["a1", "a2"]), known(items, "b", ["b1", "b2"]), known(items, "c", ["c1", "c2"])], [[], ["b1", "b2"], [
      "c1",
      "c2",
    ]]);
    items.keep("b", [item("b3")]);
    items.keep("d", [item("d1")]);
    assertEquals([known(items, "b", ["b2", "b3"]), known(items, "c", ["c1", "c2"])], [["b2", "b3"], ["c2"]]);
  });

  it("are not kept where one is larger than all there is for a client", () => {
    const items = new KeptItems({ mostBytes: 1000, mostOfClient: 100 });
    items.keep("a", [item("a1")]);
    assertEquals(known(items, "a", ["a1"]), []);
  });
});
