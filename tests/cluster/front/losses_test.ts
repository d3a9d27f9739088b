/**
 * What becomes of requests whose cells are lost with them, break off, or say that they cannot go on: cells here answer as a test says.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { cellRecord } from "../../../bench/support/cell_records.ts";
import { MOST_MOVES } from "../../../cluster/front/losses.ts";
import { logged } from "../../support/logged.ts";
import { CHAT, chat, eventStream, openFront, ScriptedCell, type TestFront, TestRegistry } from "../../support/cells.ts";

type Answer = (request: Request) => Response | Promise<Response>;

/** A front before cells that all answer so, if nothing else is said. */
async function withCells(ids: readonly string[], answer: Answer, work: (cells: readonly ScriptedCell[], front: TestFront) => Promise<void>) {
  await using stack = new AsyncDisposableStack();
  const cells = ids.map((id) => stack.use(new ScriptedCell(id, answer)));
  const registry = new TestRegistry();
  registry.set(cells.map((cell) => cell.record()));
  const front = stack.use(await openFront(registry));
  await work(cells, front);
  const { attempts, cells: known } = front.running.context;
  assertEquals([attempts.size, ...ids.map((id) => known.running(id))], [0, ...ids.map(() => 0)], "nothing is left running");
}

/** These bytes, and then no more: the connection breaks. */
function brokenOff(text: string, head: ResponseInit = { headers: { "content-type": "text/event-stream" } }): Response {
  let sent = false;
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      if (sent) throw new Error("it breaks off, as the test says");
      sent = true;
      controller.enqueue(new TextEncoder().encode(text));
    },
  });
  return new Response(body, head);
}

const IDS = ["a", "b", "c", "d", "e"];
const asked = (cells: readonly ScriptedCell[]) => cells.reduce((sum, cell) => sum + cell.asked.length, 0);
const word = (text: string) => `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: text } }] })}`;
const failure = (code: string, message = "it is broken") => JSON.stringify({ error: { message, type: "server_error", param: null, code } });
const DONE = "data: [DONE]";

describe("a request that loses its cells", () => {
  const losing: Record<string, Answer> = {
    "in the middle of whole answers": () => brokenOff(`{"choices`, { headers: { "content-type": "application/json" } }),
    "in the middle of refusals": () => brokenOff(`{"error`, { status: 503 }),
    "with their workers": () => new Response(failure("worker_lost"), { status: 503 }),
  };
  for (const [when, answer] of Object.entries(losing)) {
    it(`is given up after three, ${when}`, () =>
      withCells(IDS, answer, async (cells, front) => {
        const response = await front.post(CHAT, chat());
        const { error } = await response.json();
        assertEquals([response.status, error.code, asked(cells)], [502, "cell_lost", 3]);
        assertStringIncludes(error.message, "3 cells were lost");
      }));
  }

  it("is given up after three that close the connection before they answer, but not where they take none", async () => {
    for (const [begins, code, connections] of [[true, "cell_lost", 3], [false, "cell_lost", 0]] as const) {
      let taken = 0;
      const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const closing = (async () => {
        for await (const connection of listener) {
          taken++;
          await connection.read(new Uint8Array(10_000));
          connection.close();
        }
      })();
      const url = `http://127.0.0.1:${listener.addr.port}`;
      if (!begins) listener.close();
      const registry = new TestRegistry();
      registry.set(IDS.map((id) => cellRecord({ id, url })));
      await using front = await openFront(registry);
      const response = await front.post(CHAT, chat());
      const { error } = await response.json();
      assertEquals([response.status, error.code, taken], [502, code, connections]);
      assertEquals(error.message.includes("3 cells were lost"), begins, error.message);
      if (begins) listener.close();
      await closing;
    }
  });

  const streams: Record<string, Answer> = {
    "that break off": () => brokenOff(`:seed 1\n:tokens 0=5\n${word("a")}\n\n`),
    "that end in the middle": () => eventStream(`:seed 1\n:tokens 0=5\n${word("a")}`),
    "that end in the middle of an event": () =>
      new Response(`:seed 1\n${word("a")}\n\ndata: {"cho`, { headers: { "content-type": "text/event-stream" } }),
    "that say that their workers are lost": () =>
      eventStream(`:seed 1\n:tokens 0=5\n${word("a")}`, `:failed worker_lost\ndata: ${failure("worker_lost")}`, DONE),
    "that are none": () => eventStream(`:seed nothing\n${word("a")}`),
  };
  for (const [which, answer] of Object.entries(streams)) {
    it(`is given up after three streams ${which}`, () =>
      withCells(IDS, answer, async (cells, front) => {
        const text = await (await front.post(CHAT, chat({ stream: true }))).text();
        assertStringIncludes(text, `"code":"cell_lost"`);
        assertStringIncludes(text, "3 cells were lost");
        assert(text.endsWith(`\n\n${DONE}\n\n`));
        assertEquals(text.split(DONE).length, 2, "it ends once");
        assertEquals(text.split(word("a")).length, which === "that are none" ? 1 : 2, "what was seen comes once");
        assertEquals(asked(cells), 3);
      }));
  }

  it("is not given up with cells that live, but after many that cannot go on", () => {
    let answers = 0;
    const codes = ["capacity", "timeout", "overloaded"];
    const answer = () => {
      const code = codes[answers++ % codes.length];
      return eventStream(`:seed 1\n:tokens 0=5\n${word("a")}`, `:failed ${code}\ndata: ${failure(code)}`, DONE);
    };
    return withCells(IDS, answer, async (cells, front) => {
      const text = await (await front.post(CHAT, chat({ stream: true }))).text();
      assertStringIncludes(text, `"code":"overloaded"`);
      assertStringIncludes(text, `${MOST_MOVES} cells have begun with this request`);
      assertEquals(asked(cells), MOST_MOVES);
    });
  });

  it("counts those of a stream and those before it together", () => {
    let answers = 0;
    return withCells(
      IDS,
      () => answers++ < 2 ? new Response(failure("device_lost"), { status: 503 }) : streams["that break off"](new Request("http://x")),
      async (cells, front) => {
        const text = await (await front.post(CHAT, chat({ stream: true }))).text();
        assertStringIncludes(text, "3 cells were lost");
        assertEquals(asked(cells), 3);
      },
    );
  });

  it("is asked of further cells where those before could not be reached, had no room, or were loading", () => {
    let answers = 0;
    const refusals = ["capacity", "overloaded", "loading", "device_unavailable"];
    return withCells(
      IDS,
      () => answers < refusals.length ? new Response(failure(refusals[answers++]), { status: 503 }) : Response.json({ choices: [] }),
      async (cells, front) => {
        assertEquals(await (await front.post(CHAT, chat())).json(), { choices: [] });
        assertEquals(asked(cells), refusals.length + 1);
      },
    );
  });
});

describe("a stream whose cell cannot go on", () => {
  it("ends behind all that came, where it came with what says so", () => {
    let answers = 0;
    const words = ["a", "b", "c"].map(word);
    const answer = () => eventStream(":seed 1", ...words.slice(0, ++answers), `:failed worker_lost\ndata: ${failure("worker_lost")}`, DONE);
    return withCells(IDS, answer, async (_, front) => {
      const text = await (await front.post(CHAT, chat({ stream: true }))).text();
      assertStringIncludes(text, "3 cells were lost");
      assertEquals(words.map((one) => text.split(one).length - 1), [1, 1, 1], text);
    });
  });

  it("ends with that cell's own words, once, where no other goes on", () => {
    const answer = () =>
      eventStream(`:seed 1\n:tokens 0=5\n${word("a")}`, `:failed worker_lost\ndata: ${failure("worker_lost", "my worker is gone")}`, DONE);
    return withCells(["a"], answer, async (cells, front) => {
      let text = "";
      const lines = await logged(async () => {
        text = await (await front.post(CHAT, chat({ stream: true }), { "x-request-id": "mine" })).text();
      });
      assertEquals(text, `${word("a")}\n\ndata: ${failure("worker_lost", "my worker is gone")}\n\n${DONE}\n\n`);
      assertEquals(asked(cells), 1);
      assertEquals(lines.filter((line) => line.includes("a stream ends with its cell's own error, worker_lost (mine)")).length, 1, lines.join("\n"));
    });
  });

  it("ends after its last event, whatever becomes of the connection", () => {
    const ends: [path: string, last: string][] = [
      [CHAT, DONE],
      ["/v1/messages", `event: message_stop\ndata: {}`],
      ["/v1/responses", `event: response.completed\ndata: {}`],
    ];
    let last = "";
    return withCells(["a", "b"], () => brokenOff(`:seed 1\n${word("a")}\n\n${last}\n\n`), async (cells, front) => {
      for (const [path, end] of ends) {
        last = end;
        assertEquals(await (await front.post(path, chat({ stream: true }))).text(), `${word("a")}\n\n${end}\n\n`);
      }
      assertEquals(asked(cells), ends.length);
    });
  });

  it("is begun anew by another cell where nothing was drawn, and shows nothing twice", () => {
    const begin = `event: message_start\ndata: {"n":1}`;
    let answers = 0;
    const answer = () =>
      answers++ === 0
        ? brokenOff(`${begin}\n\n`)
        : eventStream(begin, `: a comment\n\nevent: ping\ndata: {}`, `:seed 1\nevent: message_stop\ndata: {}`);
    return withCells(["a", "b"], answer, async (cells, front) => {
      const text = await (await front.post("/v1/messages", chat({ stream: true }))).text();
      assertEquals(text, `${begin}\n\nevent: ping\ndata: {}\n\nevent: message_stop\ndata: {}\n\n`);
      assertEquals(cells.flatMap(({ asked }) => asked), ["/v1/messages", "/v1/messages"]);
    });
  });

  it("is not continued by who answers something else, or says that it is not equal, which leaves nothing running", () => {
    const others: Answer[] = [
      () => Response.json({ choices: [] }),
      () => new Response(failure("not_equal"), { status: 409 }),
      () => new Response(failure("invalid_value"), { status: 400 }),
    ];
    let [answers, other] = [0, others[0]];
    const answer: Answer = (request) => answers++ === 0 ? brokenOff(`:seed 1\n:tokens 0=5\n${word("a")}\n\n`) : other(request);
    return withCells(["a", "b"], answer, async (cells, front) => {
      for (other of others) {
        answers = 0;
        front.running.context.cells.update(cells.map((cell) => cell.record({ beat: Math.floor(performance.now() * 1000) })));
        const text = await (await front.post(CHAT, chat({ stream: true }))).text();
        assertStringIncludes(text, `"code":"no_equal_cell"`);
        assertEquals(answers, 2);
      }
    });
  });

  it("tells the next cell whom it must equal, by what is known of the lost one by then", async () => {
    const bodies: Record<string, unknown>[] = [];
    const answer: Answer = async (request) => {
      const body = await request.json();
      if (new URL(request.url).pathname !== CHAT) {
        bodies.push(body);
        return eventStream(`:seed 1\n:tokens 0=5\n${word("a")}`, DONE);
      }
      await known.promise;
      return brokenOff(`:seed 1\n:tokens 0=5\n${word("a")}\n\n`);
    };
    let known = Promise.withResolvers<void>();
    await withCells(["a", "b"], answer, async (cells, front) => {
      const update = (change: object) =>
        front.running.context.cells.update(cells.map((cell) => cell.record({ beat: Math.floor(performance.now() * 1000), ...change })));
      for (const failover of ["", "any"]) {
        known = Promise.withResolvers();
        // It has not read its files when the request comes.
        update({ fingerprint: null, weights: null });
        const response = front.post(CHAT, chat({ stream: true }), { "x-latentmesh-failover": failover });
        while (asked(cells) % 2 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
        update({});
        known.resolve();
        assertStringIncludes(await (await response).text(), DONE);
      }
      assertEquals(bodies.map(({ fingerprint, weights }) => [fingerprint, weights]), [["f", undefined], [undefined, "w"]]);
    });
  });
});
