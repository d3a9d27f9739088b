import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import type { ServedModel, TokenEngine } from "../../../core/engine.ts";
import { TextTokenizer } from "../../../core/text/tokenizer.ts";
import { generatePieces } from "../../../core/text/text_engine.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { fixtureDirectory } from "../../support/fixtures.ts";

describe("generatePieces", () => {
  it("lets its caller use an array of tokens again, as engines know prompts by their arrays", async () => {
    const prompts: (readonly number[])[] = [];
    const engine: Partial<TokenEngine> = {
      maxContext: 16,
      generate: ({ prompt }) => {
        prompts.push(prompt);
        return Promise.resolve();
      },
    };
    const tokenizer = await TextTokenizer.load(new DirectoryFiles(fixtureDirectory("tiny-mla")));
    const served = { engine, tokenizer, eosTokens: [] } as Partial<ServedModel> as ServedModel;
    const prompt = [1, 2, 3];
    await Array.fromAsync(generatePieces(served, { prompt }));
    prompt[0] = 4;
    await Array.fromAsync(generatePieces(served, { prompt }));
    assertEquals(prompts, [[1, 2, 3], [4, 2, 3]]);
  });
});
