/**
 * What cells refuse, in the words of whichever API, and what is at a cell's address and is none.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { wholeOf } from "../../../cluster/front/whole_answer.ts";
import { type ErrorCode, LatentmeshError } from "../../../core/errors.ts";
import { CHAT, chat, describeCells, openFront, ScriptedCell, statusOf, TestRegistry } from "../../support/cells.ts";

describeCells("a cell's refusal", (withCells) => {
  const IDS = ["a", "b", "c", "d", "e"];

  for (const path of [CHAT, "/v1/messages"]) {
    const failing = (failure: ErrorCode, failures: number, work: (asked: number, response: Response) => Promise<void>) =>
      withCells(IDS, async ({ cells, front }) => {
        let left = failures;
        for (const { engine } of cells) {
          engine.stallAfter = 0;
          Object.defineProperty(engine, "failure", {
            get() {
              if (--left <= 0) { for (const other of cells) other.engine.stallAfter = null; }
              return new LatentmeshError(failure, "it is broken");
            },
          });
        }
        const response = await front.post(path, chat());
        await work(cells.reduce((sum, { engine }) => sum + engine.requests.length, 0), response);
      });

    it(`has another cell asked where there is no room: ${path}`, () =>
      failing("overloaded", 1, async (asked, response) => {
        assertEquals([response.status, asked], [200, 2]);
        assertEquals(response.headers.get("x-latentmesh-error"), null);
        await response.body!.cancel();
      }));

    it(`counts as a loss where it has lost its worker: ${path}`, () =>
      failing("worker_lost", 9, async (asked, response) => {
        assertStringIncludes(await response.text(), "3 cells were lost");
        assertEquals([response.status, asked], [502, 3]);
      }));
  }
});

describe("what is no cell's answer", () => {
  const html = { "content-type": "text/html" };
  const others: Record<string, () => Response> = {
    "a page": () => new Response("hello", { headers: html }),
    "a page that is not found": () => new Response("not here", { status: 404, headers: html }),
    "a refusal of a proxy": () => new Response("not you", { status: 403, headers: html }),
    "a redirection": () => new Response(null, { status: 307, headers: { location: "http://127.0.0.1:1/" } }),
    "nothing": () => new Response(null, { status: 204 }),
    "no events": () => new Response(null, { status: 204, headers: { "content-type": "text/event-stream" } }),
    "a refusal without end": () => new Response(" ".repeat(2 << 20), { status: 429, headers: { "content-type": "application/json" } }),
  };
  for (const [which, answer] of Object.entries(others)) {
    it(`is given to nobody: ${which}`, async () => {
      await using stack = new AsyncDisposableStack();
      let answers = 0;
      const cells = ["a", "b"].map((id) => stack.use(new ScriptedCell(id, () => answers++ === 0 ? answer() : Response.json({ choices: [] }))));
      const registry = new TestRegistry();
      registry.set(cells.map((cell) => cell.record()));
      const front = stack.use(await openFront(registry));
      assertEquals([await statusOf(front.post(CHAT, chat())), answers], [200, 2]);
      assertEquals(front.running.context.attempts.size, 0, "nothing is left running");
    });
  }

  it("ends where it has no end", async () => {
    const endless = new Response(new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(1000)) }));
    let heard = 0;
    const error = await assertRejects(() => wholeOf(endless, { heard: () => heard++, most: 10_000 }), LatentmeshError, "more than 10000 bytes");
    assertEquals([error.code, heard], ["protocol", 11]);
    assertEquals(await wholeOf(new Response("abc"), { heard() {}, most: 3 }), new TextEncoder().encode("abc"));
  });
});
