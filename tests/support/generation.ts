/**
 * Generations, and the goldens of transformers to compare them with.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import type { GeneratedPiece } from "../../core/text/generate.ts";
import type { GenerateOptions } from "../../core/text/text_engine.ts";
import { ROOT } from "../../bench/support/root.ts";

/** One generation of `golden.json`. */
export interface GoldenGeneration {
  readonly prompt_ids: number[];
  readonly token_ids: number[];
  readonly logprobs: number[];
  readonly margin: number[];
  readonly text: string;
}

/** Goldens of tiny-mla. */
export const golden: { generations: Record<string, GoldenGeneration>; public: { per_doc_nll: number[] } } = JSON.parse(
  await Deno.readTextFile(`${ROOT}/tests/golden/tiny-mla/golden.json`),
);

/** A smaller margin between the two best tokens may legitimately flip. */
const MARGIN = 0.02;

/** An engine or a cluster. */
export interface Generates {
  generate(options: GenerateOptions): AsyncIterable<GeneratedPiece>;
}

/** Generates to the end. */
export async function generate(engine: Generates, options: GenerateOptions) {
  const pieces = await Array.fromAsync(engine.generate(options));
  return {
    text: pieces.map(({ text }) => text).join(""),
    tokens: pieces.flatMap(({ tokens }) => tokens),
    logprobs: pieces.flatMap(({ logprobs }) => logprobs),
    finishReason: pieces.at(-1)!.finishReason,
  };
}

/** Greedy generations must equal the goldens of tiny-mla, up to the first near tie: one alone, and the others at once. */
export async function assertGoldenGenerations(engine: Generates): Promise<void> {
  const [alone, ...others] = Object.entries(golden.generations);
  await assertGolden(engine, ...alone);
  // Whoever fails is told once all have ended, so that none is left behind.
  const ended = await Promise.allSettled(others.map((one) => assertGolden(engine, ...one)));
  for (const one of ended) if (one.status === "rejected") throw one.reason;
}

async function assertGolden(engine: Generates, prompt: string, expected: GoldenGeneration): Promise<void> {
  const ended = expected.token_ids.at(-1) === 1;
  const { text, tokens, logprobs, finishReason } = await generate(engine, { prompt, maxTokens: expected.token_ids.length, logprobs: 2 });
  const differs = tokens.findIndex((token, i) => token !== expected.token_ids[i]);
  const tie = expected.margin.findIndex((margin) => margin < MARGIN);
  assert(differs === -1 || (tie >= 0 && tie <= differs), `${prompt}: token ${differs} differs`);
  if (differs >= 0) return;
  assertEquals(finishReason, ended ? "stop" : "length");
  assertEquals(text, expected.text.replace("<|end_of_text|>", ""));
  logprobs.forEach(({ token, logprob, top }, i) => {
    assert(Math.abs(logprob - expected.logprobs[i]) < 0.02, `${prompt}: logprob ${i}`);
    assertEquals(token, top[0].token);
    assert(top[1].logprob <= top[0].logprob, "descending");
  });
}
