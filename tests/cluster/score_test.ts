import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import type { LoadedEngine } from "../../cluster/commands/loaded_engine.ts";
import { scoreDocuments } from "../../cluster/commands/score.ts";
import { LatentmeshError } from "../../core/errors.ts";

/** Predicts every character but the first, each with a nat. */
const engine = {
  score: (text: string, { limitTokens }: { limitTokens: number }) => {
    const tokens = Math.max(0, Math.min(limitTokens, text.length - 1));
    return Promise.resolve({ tokens, nll: tokens });
  },
} as LoadedEngine;

describe("score", () => {
  it("tells of documents that have nothing to predict beside others, and how far it is", async () => {
    const progress: number[] = [];
    const report = await scoreDocuments(engine, ["abc", ""], 9, ({ done }) => progress.push(done));
    assertEquals([report.tokens, report.nllPerToken, report.perDocument.map(({ nllPerToken }) => nllPerToken), progress], [2, 1, [1, 0], [1, 2]]);
  });

  it("refuses documents of which none has anything to predict", async () => {
    await assertRejects(() => scoreDocuments(engine, ["", "a"], 9), LatentmeshError, "Nothing to score");
  });
});
