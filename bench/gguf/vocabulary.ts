/**
 * The vocabulary of a `tokenizer.json` as GGUF metadata.
 *
 * @module
 */
import { z } from "zod";
import type { WrittenValue } from "./head.ts";

/** What is read of a byte-level BPE tokenizer. */
const tokenizerSchema = z.object({
  added_tokens: z.array(z.object({ id: z.number(), content: z.string() })).default([]),
  model: z.object({
    type: z.literal("BPE"),
    vocab: z.record(z.string(), z.number()),
    merges: z.array(z.union([z.string(), z.tuple([z.string(), z.string()])])),
  }),
});

/** Numbers of kinds of tokens: text, what only templates hold, and ids that nothing has. */
const [NORMAL, CONTROL, UNUSED] = [1, 3, 5];

/** @param vocabSize ids of the model, of which the tokenizer may name fewer @throws {z.ZodError} if it is of another kind */
export function vocabularyMetadata(
  tokenizerJson: string,
  { vocabSize, bosToken, eosTokens }: { readonly vocabSize: number; readonly bosToken: number | null; readonly eosTokens: readonly number[] },
): Map<string, WrittenValue> {
  const { added_tokens, model } = tokenizerSchema.parse(JSON.parse(tokenizerJson));
  const tokens = Array.from({ length: vocabSize }, (_, id) => `[unused${id}]`);
  const types = new Array<number>(vocabSize).fill(UNUSED);
  const name = (id: number, text: string, type: number) => {
    tokens[id] = text;
    types[id] = type;
  };
  for (const [text, id] of Object.entries(model.vocab)) name(id, text, NORMAL);
  for (const { id, content } of added_tokens) name(id, content, CONTROL);
  const merges = model.merges.map((merge) => typeof merge === "string" ? merge : merge.join(" "));
  const metadata = new Map<string, WrittenValue>([
    ["tokenizer.ggml.model", { type: "string", value: "gpt2" }],
    ["tokenizer.ggml.pre", { type: "string", value: "gpt-2" }],
    ["tokenizer.ggml.tokens", { type: "strings", value: tokens }],
    ["tokenizer.ggml.token_type", { type: "i32s", value: types }],
    ["tokenizer.ggml.merges", { type: "strings", value: merges }],
  ]);
  if (bosToken !== null) metadata.set("tokenizer.ggml.bos_token_id", { type: "u32", value: bosToken });
  if (eosTokens.length > 0) metadata.set("tokenizer.ggml.eos_token_id", { type: "u32", value: eosTokens[0] });
  return metadata;
}
