import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { ServedModel, TokenEngine } from "../../../core/engine.ts";
import { TextTokenizer } from "../../../core/text/tokenizer.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { type GenerateOptions, generatePieces } from "../../../core/text/text_engine.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";

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
    const served = { engine, tokenizer, eosTokens: [], vocabSize: 8192 } as Partial<ServedModel> as ServedModel;
    const prompt = [1, 2, 3];
    await Array.fromAsync(generatePieces(served, { prompt }));
    prompt[0] = 4;
    await Array.fromAsync(generatePieces(served, { prompt }));
    assertEquals(prompts, [[1, 2, 3], [4, 2, 3]]);
  });

  it("refuses options that no engine can honour, by name, before it is asked", async () => {
    const engine: Partial<TokenEngine> = { maxContext: 16, generate: () => Promise.reject(new Error("asked")) };
    const tokenizer = await TextTokenizer.load(new DirectoryFiles(fixtureDirectory("tiny-mla")));
    const served = { engine, tokenizer, eosTokens: [], vocabSize: 8 } as Partial<ServedModel> as ServedModel;
    const cases: [Record<string, unknown>, string, string][] = [
      [{ prompt: [1, 8] }, "prompt", "8, number 1 of it, is no token of a vocabulary of 8"],
      [{ prompt: [-1] }, "prompt", "-1, number 0"],
      [{ prompt: [1.5] }, "prompt", "1.5, number 0"],
      [{ prompt: 5 }, "prompt", "a text or a list of tokens"],
      [{ max_tokens: 3 }, "max_tokens", "no such option of generate; did you mean maxTokens?"],
      [{ nonsense: 3 }, "nonsense", "no such option"],
      [{ maxTokens: -1 }, "maxTokens", "expected a whole number of at least 0, got -1"],
      [{ stop: new Array(65).fill("x") }, "stop", "expected a list of at most 64 elements"],
      [{ stop: ["x".repeat(1025)] }, "stop.0", "expected a text of 1 to 1024 characters"],
      [{ stop: "x" }, "stop", 'expected a list of at most 64 elements, got "x"'],
      [{ temperature: -1 }, "temperature", "of at least 0, got -1"],
      [{ temperature: NaN }, "temperature", ""],
      [{ topP: 2 }, "topP", "from 0 to 1, got 2"],
      [{ topK: 1.5 }, "topK", "a whole number"],
      [{ logprobs: -1 }, "logprobs", "a whole number"],
      [{ priority: 0.5 }, "priority", "a whole number"],
      [{ seed: 1.5 }, "seed", "must be a whole number"],
      [{ logitBias: { 1: 2 } }, "logitBias", ""],
      [{ signal: {} }, "signal", ""],
      [{ messages: "Hello" }, "messages", 'expected a list that is not empty, got "Hello"'],
      [{ messages: [{ content: "Hello" }] }, "messages.0.role", "expected a text, and it is missing"],
    ];
    for (const [options, param, problem] of cases) {
      const error = await assertRejects(
        () => Array.fromAsync(generatePieces(served, { prompt: [1], ...options } as GenerateOptions)),
        LatentmeshError,
      );
      assertEquals([error.code, error.param], ["invalid_request", param], error.message);
      assert(error.message.startsWith(`Cannot use ${param}: `) && error.message.includes(problem), error.message);
    }
    const usual = {
      prompt: [1],
      temperature: 0.5,
      seed: 2 ** 60,
      stop: ["."],
      logprobs: null,
      maxTokens: undefined,
      signal: new AbortController().signal,
    };
    await assertRejects(() => Array.fromAsync(generatePieces(served, { ...usual, logitBias: new Map([[1, 2]]) })), Error, "asked");
  });
});
