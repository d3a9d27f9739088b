/**
 * Stop strings that are special tokens, which no text shows.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { generateText, type TextEvent, type TextOptions } from "../../../core/text/generate.ts";
import type { TokenRequest } from "../../../core/engine.ts";
import { GREEDY } from "../../../core/sampling/params.ts";
import { scriptedModel } from "../../support/scripted_model.ts";

describe("a stop string that is a special token", () => {
  const said = async (options: TextOptions, stopTokens: readonly number[] = [1]) => {
    const model = await scriptedModel(() => "one two<|user|>three");
    const request: TokenRequest = {
      prompt: [5],
      maxTokens: 20,
      sampling: GREEDY,
      choice: 0,
      stopTokens: new Set(stopTokens),
      logprobs: null,
      promptLogprobs: null,
      signal: new AbortController().signal,
    };
    let [text, reason, stop]: [string, string | null, string | null] = ["", null, null];
    await generateText(model, request, options, (event: TextEvent) => {
      if (event.kind === "piece") [text, reason, stop] = [text + event.text, event.finishReason, event.stopString];
    });
    return [text, reason, stop];
  };

  it("ends the text, which it is part of only where that is asked for", async () => {
    assertEquals(await said({ stop: ["x", "<|user|>"] }), ["one two", "stop", "<|user|>"]);
    assertEquals(await said({ stop: ["<|user|>"], includeStop: true }), ["one two<|user|>", "stop", "<|user|>"]);
    assertEquals(await said({ stop: ["<|end_of_text|>"] }), ["one twothree", "stop", "<|end_of_text|>"]);
    assertEquals(await said({ stop: [] }), ["one twothree", "stop", null]);
  });

  it("gives way to one that comes before it, and lets what only looked like one be said", async () => {
    assertEquals(await said({ stop: ["two", "<|user|>"] }), ["one ", "stop", "two"]);
    assertEquals(await said({ stop: ["two three", "<|user|>"] }), ["one two", "stop", "<|user|>"]);
  });

  it("is text like any other where special tokens are shown", async () => {
    for (const kept of ["all", new Set([2])] as const) {
      assertEquals(await said({ stop: ["<|user|>th"], kept }), ["one two", "stop", "<|user|>th"]);
      assertEquals(await said({ stop: ["<|user|>"], kept }), ["one two", "stop", "<|user|>"]);
    }
    assertEquals(await said({ stop: [], kept: "all" }), ["one two<|user|>three", "stop", null]);
  });
});
