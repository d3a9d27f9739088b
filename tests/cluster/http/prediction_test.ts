import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { guessAlways } from "../../support/guess_always.ts";
import { openTestApp, type TestApp } from "../../../bench/support/server.ts";

describe("a prediction of the answer", () => {
  guessAlways();
  let test: TestApp;
  beforeAll(async () => void (test = await openTestApp()));
  afterAll(() => test.close());

  const json = async (path: string, body: unknown) => await (await test.post(path, body)).json();
  const ASK = { messages: [{ role: "user", content: "What is a kettle?" }], temperature: 1, seed: 3, max_tokens: 40, ignore_eos: true };

  it("changes nothing but how many tokens come at a time, whatever form it has, of every choice", async () => {
    const { choices: [{ message: { content } }], usage } = await json("/v1/chat/completions", { ...ASK, speculate: "off" });
    assertEquals(usage.completion_tokens_details, undefined);
    const { tokens } = await json("/tokenize", { prompt: content, add_special_tokens: false });
    const parts = [content.slice(0, 20), content.slice(20)].map((text) => ({ type: "text", text }));
    for (const prediction of [content, parts, tokens, `${content.slice(0, 40)} something else ${content.slice(48)}`]) {
      const body = await json("/v1/chat/completions", { ...ASK, n: 2, prediction: { type: "content", content: prediction } });
      assertEquals(body.choices[0].message.content, content);
      const { accepted_prediction_tokens: accepted, rejected_prediction_tokens: rejected } = body.usage.completion_tokens_details;
      assert(accepted > 0 && rejected > 0, "it was right of one choice, and not of the other");
    }
  });

  it("is refused by its name where it cannot be one", async () => {
    for (
      const prediction of [
        "text",
        { type: "content" },
        { type: "other", content: "x" },
        { type: "content", content: [] },
        { type: "content", content: [2 ** 30] },
      ]
    ) {
      const response = await test.post("/v1/chat/completions", { ...ASK, prediction });
      const { error } = await response.json();
      assertEquals([response.status, error.param.split(".")[0]], [400, "prediction"], error.message);
    }
  });
});
