import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import type { LoadedEngine } from "../../../cluster/commands/loaded_engine.ts";
import { scoreDocuments } from "../../../cluster/commands/score.ts";
import { LatentmeshError } from "../../../core/errors.ts";

/** Scores a nat for each character, of three at most. */
const engine = {
  score: (text: string, { limitTokens }: { readonly limitTokens: number }) => {
    const tokens = Math.min(text.length, limitTokens);
    if (tokens > 3) return Promise.reject(new LatentmeshError("invalid_request", `The prompt has ${tokens} tokens; this model's context holds 3`));
    return Promise.resolve({ tokens, nll: tokens });
  },
} as LoadedEngine;

describe("scoring", () => {
  it("names the document that is longer than the context, and what has it cut before that", async () => {
    assertEquals((await scoreDocuments(engine, ["ab", "abcd"], 3)).tokens, 5);
    const said = "Cannot score document 2: The prompt has 4 tokens; this model's context holds 3; give a lower --limit-tokens";
    assertEquals((await assertRejects(() => scoreDocuments(engine, ["ab", "abcd"], 9), LatentmeshError)).message, said);
  });
});
