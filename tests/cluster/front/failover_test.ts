/**
 * Streams whose cell is lost: an equal cell goes on, and the client sees what it would have seen without; or it is told why not.
 */
import { it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { CHAT, describeCells, MESSAGES, TestCell, type TestCells } from "../../support/cells.ts";

const TOKENS = 12;

const drawn = { temperature: 1, seed: 7, max_tokens: TOKENS, stream: true };
const CASES: Record<string, readonly [path: string, body: Record<string, unknown>]> = {
  "a chat": [CHAT, { messages: MESSAGES, ...drawn, stream_options: { include_usage: true } }],
  "several choices": [CHAT, { messages: MESSAGES, ...drawn, n: 3 }],
  "several choices with log-probabilities": [CHAT, { messages: MESSAGES, ...drawn, n: 2, logprobs: true, top_logprobs: 1 }],
  "log-probabilities and token ids": [CHAT, { messages: MESSAGES, ...drawn, logprobs: true, top_logprobs: 2, return_token_ids: true }],
  "an answer with a form": [CHAT, { messages: MESSAGES, ...drawn, max_tokens: 40, response_format: { type: "json_object" } }],
  "penalties and a stop string": [CHAT, { messages: MESSAGES, ...drawn, max_tokens: 40, frequency_penalty: 0.7, min_tokens: 8, stop: ["the"] }],
  "completions of several prompts": ["/v1/completions", { prompt: ["And it came", "To create"], ...drawn, echo: true, logprobs: 1 }],
  "a response": ["/v1/responses", { input: "What is a kettle?", temperature: 0, max_output_tokens: TOKENS, stream: true }],
  "a message": ["/v1/messages", { messages: MESSAGES, temperature: 0, max_tokens: TOKENS, stream: true }],
};

/** A stream without what differs from run to run: identifiers, by the order in which they come first, and what was cached. */
function comparable(text: string): string {
  const names = new Map<string, string>();
  return text
    .replace(/\b([a-z]+[-_])[0-9a-f]{8}[0-9a-f-]{16,28}/g, (id, kind) => {
      names.set(id, names.get(id) ?? `${kind}${names.size}`);
      return names.get(id)!;
    })
    .replace(/"(created|created_at)":\d+/g, '"$1":0')
    .replace(/"(cached_tokens|input_tokens|cache_read_input_tokens)":\d+/g, '"$1":0')
    .replace(/,"completion_tokens_details":\{[^}]*\}/g, "");
}

/** The lines of each choice by itself: what is of several choices comes in any order. */
function byChoice(text: string): string[][] {
  const lines = comparable(text).split("\n\n");
  return [...Map.groupBy(lines, (line) => /"choices":\[\{"index":(\d+)/.exec(line)?.[1] ?? "none").entries()]
    .toSorted(([a], [b]) => a < b ? -1 : 1)
    .map(([, lines]) => lines);
}

describeCells("a stream whose cell is lost", (open, test) => {
  const withCells = (work: (parts: TestCells) => Promise<void>) => open(["a", "b"], work);

  /** Which cell has the request, once one stands still. */
  async function stalled(cells: readonly TestCell[]): Promise<TestCell> {
    return await Promise.race(cells.map((cell) => cell.engine.stalled.then(() => cell)));
  }

  for (const [name, [path, body]] of Object.entries(CASES)) {
    it(`goes on at an equal cell: ${name}`, async () => {
      const solo = await (await test().post(path, body)).text();
      for (const after of [0, 5, TOKENS]) {
        await withCells(async ({ cells, front }) => {
          for (const cell of cells) cell.engine.stallAfter = after;
          const asked = front.post(path, body);
          const first = await stalled(cells);
          for (const cell of cells) cell.engine.stallAfter = null;
          const response = await asked;
          first.die();
          assertEquals(byChoice(await response.text()), byChoice(solo), `lost after ${after} tokens`);
          const other = cells.find((cell) => cell !== first)!;
          // Behind the last token, nothing is left to be computed.
          if (after < TOKENS) assert(other.engine.requests.length > 0, "it was not asked");
          const seeds = new Set(cells.flatMap(({ engine }) => engine.requests.map(({ sampling }) => String(sampling.seed))));
          if (after > 0) assertEquals(seeds.size, 1, "both draw from the same noise");
        });
      }
    });
  }

  it("is continued with the tokens that were shown, which are not drawn again", async () => {
    await withCells(async ({ cells, front }) => {
      for (const cell of cells) cell.engine.stallAfter = 6;
      const asked = front.post(CHAT, { messages: MESSAGES, temperature: 1, max_tokens: TOKENS, stream: true });
      const first = await stalled(cells);
      const other = cells.find((cell) => cell !== first)!;
      other.engine.stallAfter = null;
      const response = await asked;
      first.die();
      assertStringIncludes(await response.text(), "[DONE]");
      const [{ resumed, sampling }] = other.engine.requests;
      assert(resumed!.length > 0 && resumed!.length <= 6, `${resumed!.length} tokens`);
      assertEquals(String(sampling.seed), String(first.engine.requests[0].sampling.seed));
      const metrics = await (await fetch(`${front.url}/metrics`)).text();
      assertStringIncludes(metrics, `latentmesh_front_failovers_total{outcome="continued"} 1`);
    });
  });

  it("goes on elsewhere when its engine fails in a way that others need not, and not otherwise", async () => {
    for (const [failure, outcome] of [["worker_lost", "[DONE]"], ["capacity", "[DONE]"], ["internal", "the engine is broken"]] as const) {
      await withCells(async ({ cells, front }) => {
        for (const cell of cells) {
          cell.engine.failure = new LatentmeshError(failure, "the engine is broken");
          cell.engine.stallAfter = 4;
        }
        const asked = front.post(CHAT, { messages: MESSAGES, temperature: 0, max_tokens: TOKENS, stream: true });
        await stalled(cells);
        for (const cell of cells) cell.engine.stallAfter = null;
        const text = await (await asked).text();
        assertStringIncludes(text, outcome);
        assertEquals(text.includes("the engine is broken"), failure === "internal");
      });
    }
  });

  it("is never continued by a cell with another fingerprint, or with none, unless that was asked for", async () => {
    const body = { messages: MESSAGES, temperature: 0, max_tokens: TOKENS, stream: true };
    const solo = await (await test().post(CHAT, body)).text();
    for (const fingerprint of ["other", null]) {
      for (
        const [path, body, error] of [
          [CHAT, CASES["a chat"][1], `"code":"no_equal_cell"`],
          ["/v1/messages", CASES["a message"][1], "event: error"],
          ["/v1/responses", CASES["a response"][1], "event: error"],
        ] as const
      ) {
        await withCells(async ({ cells, front, beat }) => {
          cells[0].identity = { weights: "w", fingerprint: "own" };
          cells[1].identity = { weights: "w", fingerprint };
          beat();
          for (const cell of cells) cell.engine.stallAfter = 3;
          const asked = front.post(path, body);
          const first = await stalled(cells);
          const response = await asked;
          first.die();
          const text = await response.text();
          assertStringIncludes(text, error);
          assertStringIncludes(text, `Cell \\"${first.id}\\" was lost`);
          assertEquals(cells.find((cell) => cell !== first)!.engine.requests, [], "the other was asked for nothing");
        });
      }
      await withCells(async ({ cells, front, beat }) => {
        cells[0].identity = { weights: "w", fingerprint: "own" };
        cells[1].identity = { weights: "w", fingerprint };
        beat();
        for (const cell of cells) cell.engine.stallAfter = 3;
        const asked = front.post(CHAT, body, { "x-latentmesh-failover": "any" });
        const first = await stalled(cells);
        for (const cell of cells) cell.engine.stallAfter = null;
        const response = await asked;
        first.die();
        assertEquals(comparable(await response.text()), comparable(solo));
      });
    }
  });

  it("ends with an error when nobody is left, and when cells are lost again and again", async () => {
    await withCells(async ({ cells, front }) => {
      for (const cell of cells) cell.engine.stallAfter = 2;
      const asked = front.post(CHAT, { messages: MESSAGES, temperature: 0, max_tokens: TOKENS, stream: true });
      const first = await stalled(cells);
      const second = cells.find((cell) => cell !== first)!;
      const again = second.engine.stalled;
      const response = await asked;
      first.die();
      await again;
      second.die();
      const text = await response.text();
      assertStringIncludes(text, `"code":"no_equal_cell"`);
      assert(text.endsWith("data: [DONE]\n\n"));
    });
  });

  it("is refused to strangers", async () => {
    const key = "a key that only fronts have".replaceAll(" ", "-");
    await using cell = new TestCell("a", test(), { fronts: { key, identity: () => ({ weights: "w", fingerprint: "f" }) } });
    const asked = { path: CHAT, body: JSON.stringify({ messages: MESSAGES, temperature: 0, max_tokens: 3 }), seed: "1", fingerprint: "f" };
    const ask = (headers: Record<string, string>) =>
      fetch(`${cell.url}/relay/continue`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-latentmesh-relay": "1 12345678 1", ...headers },
        body: JSON.stringify({ ...asked, tokens: [[5]] }),
      });
    for (const authorization of ["", "Bearer wrong"]) {
      const response = await ask({ authorization });
      assertEquals([response.status, (await response.json()).error.code], [403, "not_a_front"]);
    }
    const response = await ask({ authorization: `Bearer ${key}` });
    assertEquals(response.status, 200);
    await response.body!.cancel();
    assertEquals(cell.engine.requests[0].resumed, [5]);
    const cases: [body: string, status: number, code: string][] = [
      ["{", 400, "invalid_json"],
      ["{}", 400, "invalid_value"],
      [JSON.stringify({ ...asked, path: "/metrics", tokens: [] }), 400, "invalid_value"],
      [JSON.stringify({ ...asked, fingerprint: undefined, tokens: [] }), 400, "invalid_value"],
      [JSON.stringify({ ...asked, tokens: [[1 << 30]] }), 400, "invalid_value"],
      [JSON.stringify({ ...asked, fingerprint: "g", tokens: [] }), 409, "not_equal"],
      [JSON.stringify({ ...asked, fingerprint: undefined, weights: "v", tokens: [] }), 409, "not_equal"],
    ];
    for (const [body, status, code] of cases) {
      const headers = { authorization: `Bearer ${key}`, "x-latentmesh-relay": "1 12345678 1" };
      const wrong = await fetch(`${cell.url}/relay/continue`, { method: "POST", headers, body });
      assertEquals([wrong.status, (await wrong.json()).error.code], [status, code], body);
    }
    assertEquals(cell.engine.requests.length, 1);
  });
});
