/**
 * Who gets a request: who has its prompt's beginning, who has its model.
 */
import { it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { readFrontRequest } from "../../../cluster/front/front_request.ts";
import { CHAT, chat, describeCells, openFront, statusOf, type TestFront } from "../../support/cells.ts";

describeCells("routing of a front", (withCells, test) => {
  it("sends what begins alike to the same cell from every front, and spreads the rest", () =>
    withCells(["a", "b", "c"], async ({ front, cells, registry }) => {
      await using other = await openFront(registry);
      const prefix = (i: number) => `Prefix ${i}. ${`The ${i}th of many instructions says what ${i} is. `.repeat(110)}`;
      const chosen = (front: TestFront, i: number, question: string) => {
        const { cells } = front.running.context;
        return cells.choose(readFrontRequest("/tokenize", new TextEncoder().encode(JSON.stringify({ prompt: prefix(i) + question })), ""), {
          tried: new Set(),
        })!.cell.id;
      };
      const first = Array.from({ length: 200 }, (_, i) => chosen(front, i, "What is it?"));
      const second = Array.from({ length: 200 }, (_, i) => chosen(other, i, "And why?"));
      assert(first.filter((id, i) => id === second[i]).length >= 190);
      const spread = Math.max(...["a", "b", "c"].map((id) => first.filter((one) => one === id).length));
      assert(spread <= 1.25 * 200 / 3, `${spread} of 200 prefixes on one cell`);
      await front.post("/tokenize", { prompt: prefix(0) }).then((response) => response.body!.cancel());
      assertEquals(cells.flatMap(({ id, heads }) => heads.map(() => id)), [first[0]]);
    }));

  it("keeps a conversation where it was, tells of prefixes that spilled, and follows what cells say of them", () =>
    withCells(["a", "b"], async ({ front, cells, beat, registry }) => {
      const { context } = front.running;
      const long = "Once upon a time there was a kettle. ".repeat(40);
      const turn = (text: string) =>
        readFrontRequest(CHAT, new TextEncoder().encode(JSON.stringify({ messages: [{ role: "user", content: text }] })), "");
      const own = context.cells.choose(turn(long), { tried: new Set() })!;
      const other = cells.find(({ id }) => id !== own.cell.id)!;
      assertEquals(own.reason, "rendezvous");
      // The one that would have it has much more to do than the other.
      beat((cell) => cell === other ? {} : { load: { running: 60, waiting: 40 } });
      assertEquals(await statusOf(front.post(CHAT, chat({ messages: [{ role: "user", content: long }] }))), 200);
      assertEquals(other.spilled, [turn(long).key]);
      beat();
      const grown = context.cells.choose(turn(`${long} And then? ${long}`), { tried: new Set() })!;
      assertEquals([grown.cell.id, grown.reason], [other.id, "remembered"]);
      // Another front learns it from the record.
      beat((cell) => ({ spilled: cell.spilled }));
      await using second = await openFront(registry);
      const hinted = second.running.context.cells.choose(turn(long), { tried: new Set() })!;
      assertEquals([hinted.cell.id, hinted.reason], [other.id, "hinted"]);
    }));

  it("serves the models of all cells, and must be told which where there are several", () =>
    withCells(["a", "b"], async ({ front, beat }) => {
      const get = async (path: string, headers: Record<string, string> = {}) => await (await front.app.request(path, { headers })).json();
      assertEquals((await get("/v1/models")).data.map(({ id }: { id: string }) => id), ["tiny-mla"]);
      assertEquals((await get("/v1/models/tiny-mla")).max_model_len, test().served.engine.maxContext);
      assertEquals((await get("/v1/models", { "anthropic-version": "2023-06-01" })).data[0].type, "model");
      beat(({ id }) => id === "a" ? { model: "another" } : {});
      assertEquals((await get("/v1/models")).data.length, 2);
      assertEquals((await get("/v1/models/third")).error.code, "model_not_found");
      assertEquals((await (await front.post(CHAT, chat())).json()).error.code, "missing_model");
      assertEquals(await statusOf(front.post(CHAT, chat({ model: "tiny-mla" }))), 200);
      const { front: own, cells } = await get("/cluster");
      assertEquals([own.registry, own.ready, cells.length, cells[0].model], ["test:", true, 2, "another"]);
      const metrics = await (await front.app.request("/metrics")).text();
      for (
        const line of [
          `latentmesh_front_cells{state="ready"} 2`,
          `latentmesh_front_requests_total{path="${CHAT}",status="200"} 1`,
          "latentmesh_front_routing_decision_seconds_count",
        ]
      ) {
        assertStringIncludes(metrics, line);
      }
      assertEquals([(await get("/healthz")).status, (await get("/readyz")).status], ["ok", "ready"]);
    }));
});
