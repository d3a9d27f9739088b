/**
 * How the page takes an answer in, and what it says of it.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { cutOf, Incoming, sentence, speedOf } from "../../../../cluster/http/dashboard/chat/answer.js";
import { fenced } from "../../../../cluster/http/dashboard/chat/attach.js";
import { highlight } from "../../../../cluster/http/dashboard/chat/highlight.js";
import { failureText, modelText } from "../../../../cluster/http/dashboard/chat/models.js";
import { newConversation, say } from "../../../../cluster/http/dashboard/chat/conversation.js";
import { boundsText, problemOf, requestOf } from "../../../../cluster/http/dashboard/chat/settings.js";

/** An answer to which events come, one every 100 ms. */
function answered(
  events: object[],
  end: { stopped?: boolean; error?: Error } = {},
  said = say(say(newConversation().start, "user", "?"), "assistant", ""),
) {
  let now = 1000;
  const incoming = new Incoming(said, () => now);
  for (const event of events) {
    now += 100;
    incoming.take({ choices: [], ...event });
  }
  incoming.end(end);
  return said;
}

const delta = (delta: object, finish_reason: string | null = null) => ({ choices: [{ delta, finish_reason }] });

describe("an answer on the page", () => {
  it("says how fast it was, as far as it is known", () => {
    assertEquals(speedOf({ first: null, rest: 0, tokens: null }), "");
    assertEquals(speedOf({ first: 80, rest: 0, tokens: null }), "first token after 80 ms");
    assertEquals(speedOf({ first: 1234, rest: 0, tokens: 1 }), "1 token · first token after 1.2 s");
    assertEquals(speedOf({ first: 80, rest: 5, tokens: 6 }), "6 tokens · first token after 80 ms");
    assertEquals(speedOf({ first: 80, rest: 500, tokens: 11 }), "11 tokens · 20.0 tokens/s · first token after 80 ms");
  });

  it("keeps reasoning apart, and its time", () => {
    const { text, reasoning, end } = answered([
      delta({ role: "assistant", content: "" }),
      delta({ reasoning_content: "Well," }),
      delta({ reasoning_content: " well." }),
      delta({ content: "Yes" }),
      delta({ content: "." }, "stop"),
      { usage: { completion_tokens: 6 } },
    ]);
    assertEquals([text, reasoning, end], ["Yes.", "Well, well.", { kind: "whole", first: 200, rest: 300, tokens: 6, thought: 200 }]);
  });

  it("knows how it ended, and says so unless it is whole", () => {
    const part = delta({ content: "So" });
    assertEquals(answered([part, delta({}, "stop")]).end!.kind, "whole");
    for (
      const [kind, said, pattern] of [
        ["length", answered([part, delta({}, "length")]), /^Cut: no more tokens/],
        ["stopped", answered([part], { stopped: true, error: new Error("aborted") }), /^Stopped/],
        ["broken", answered([part]), /^Cut: the connection/],
        ["error", answered([part], { error: new Error("It is away.") }), /^It is away\. This.*no part of the conversation/],
        ["error", answered([part], { error: new Error("this model's context holds 2048") }), /holds 2048\. This question/],
      ] as const
    ) {
      assertEquals(said.end!.kind, kind);
      assert(pattern.test(cutOf(said.end)), kind);
    }
    assertEquals(cutOf(answered([delta({}, "stop")]).end), "");
    assert(/page was closed/.test(cutOf(null)));
  });

  it("goes on behind what it said, in one count, and is as it was if it cannot", () => {
    const said = answered([delta({ content: "One" }, "length"), { usage: { completion_tokens: 2 } }]);
    answered([delta({ content: " two" }, "stop"), { usage: { completion_tokens: 3 } }], {}, said);
    assertEquals([said.text, said.end!.kind, said.end!.tokens, said.end!.first], ["One two", "whole", 5, 100]);
    const cut = answered([delta({ content: "One" }, "length")]);
    const was = cut.end;
    answered([], { error: new Error("no") }, cut);
    assertEquals([cut.text, cut.end], ["One", was]);
  });

  it("may be of one of several models, which say whether they are loaded", () => {
    const model = { id: "m", state: "unloaded", error: null, progress: null };
    const texts = [model, { ...model, state: "loaded" }, { ...model, error: "no" }, {
      ...model,
      state: "loading",
      progress: { loadedBytes: 1, totalBytes: 4 },
    }];
    assertEquals(texts.map(modelText), ["m (loads when asked)", "m", "✕ m (could not be loaded)", "m (loading, 25 %)"]);
    assertEquals([...texts, undefined].map(failureText), [null, null, "m could not be loaded: no", null, null]);
    // One that is tried again, or loaded since, has not failed.
    assertEquals(["loading", "loaded"].map((state) => failureText({ ...model, state, error: "no" })), [null, null]);
  });

  it("is a sentence where an error is followed by more", () => {
    const texts = ["It holds 2048", "It is away.", "Why?", 'It said "no."', "Wrong:", " so… "];
    assertEquals(texts.map(sentence), ["It holds 2048.", "It is away.", "Why?", 'It said "no."', "Wrong.", "so…"]);
  });

  it("may be about files, in fences that nothing in them ends", () => {
    assertEquals(fenced("a.PY", "x = 1"), "a.PY:\n\n```py\nx = 1\n```\n");
    assertEquals(fenced("Makefile", "a\n"), "Makefile:\n\n```\na\n```\n");
    assertEquals(fenced("b.md", "```js\n````\n"), "b.md:\n\n`````md\n```js\n````\n`````\n");
    // As many as a file of the largest size may have.
    assert(fenced("c", "` ".repeat(500_000)).startsWith("c:\n\n```\n"));
  });

  it("stays plain where the colours of its code do not come", async () => {
    // Languages are files of the server: here there are none.
    const code = { className: "language-python", textContent: "def f(): pass", replaceChildren: () => assert(false, "it was replaced") };
    for (let time = 0; time < 2; time++) await highlight(code as unknown as Parameters<typeof highlight>[0]);
  });

  it("is asked for as the settings say, and what is empty is left out", () => {
    assertEquals(requestOf({}), { system: "", fields: {} });
    assertEquals(requestOf({ system: " Be brief. ", temperature: "0", top_p: "", seed: " 7 ", max_tokens: "x", stop: "a\n\n b" }), {
      system: "Be brief.",
      fields: { temperature: 0, seed: 7, stop: ["a", " b"] },
    });
  });

  it("is not asked for with settings that are out of bounds, which says what they may be", () => {
    const temperature = { label: "Temperature", min: "0", max: "2", step: "any" };
    const seed = { label: "Seed", min: "", max: "", step: "1" };
    assertEquals([temperature, seed, { ...seed, min: "1" }, { ...seed, max: "5" }].map(boundsText), [
      "a number from 0 to 2",
      "a whole number",
      "a whole number from 1 up",
      "a whole number up to 5",
    ]);
    assertEquals(problemOf([]), null);
    assertEquals(problemOf([temperature]), "Nothing was sent. Temperature must be a number from 0 to 2: correct or empty it in the settings.");
    assert(/Temperature must be .* 2; Seed must be a whole number: .* them/.test(problemOf([temperature, seed])!));
  });
});
