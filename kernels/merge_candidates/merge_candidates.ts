/**
 * Second pass of candidate selection: merges a row's chunks into exact log-sum-exps, one drawn token and one sorted list.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { LIST_HEADER, LIST_WORDS } from "../../core/sampling/candidates.ts";
import type { CandidatesConfig } from "../candidates/candidates.ts";
import { CHUNK_TOKENS, REDUCING_THREADS, SAMPLING_WORDS } from "../candidates/layout.ts";
import reduce from "../candidates/reduce.wgsl" with { type: "text" };
import { constants, type Kernel } from "../authoring/contract.ts";
import source from "./merge_candidates.wgsl" with { type: "text" };

/** chunk_lists: [rows, chunks, LIST_WORDS] → lists: [rows, LIST_WORDS], read by `readCandidates`. */
export const mergeCandidates: Kernel<CandidatesConfig, "logits" | "sampling" | "chunk_lists" | "lists", "rows" | "count" | "first_token"> = {
  name: "merge_candidates",
  bindings: { logits: "read", sampling: "read", chunk_lists: "read", lists: "read_write" },
  params: ["rows", "count", "first_token"],
  wgsl: ({ vocabulary }) =>
    constants({
      THREADS: REDUCING_THREADS,
      VOCABULARY: vocabulary,
      CHUNK_TOKENS,
      CHUNKS: ceilDiv(vocabulary, CHUNK_TOKENS),
      LIST_HEADER,
      LIST_WORDS,
    }) + reduce + source,
  workgroups: (_, { rows }) => [rows, 1, 1],
  sizes: ({ vocabulary }, { rows }) => ({
    logits: rows * vocabulary * 4,
    sampling: rows * SAMPLING_WORDS * 4,
    chunk_lists: rows * ceilDiv(vocabulary, CHUNK_TOKENS) * LIST_WORDS * 4,
    lists: rows * LIST_WORDS * 4,
  }),
  reference({ vocabulary }, { logits, sampling, chunk_lists, lists }, { rows, count, first_token }) {
    const chunks = ceilDiv(vocabulary, CHUNK_TOKENS);
    for (let row = 0; row < rows; row++) {
      const starts = Array.from({ length: chunks }, (_, chunk) => (row * chunks + chunk) * LIST_WORDS);
      const pairs = starts.flatMap((at) =>
        Array.from({ length: count }, (_, k) => ({
          token: chunk_lists.u32[at + LIST_HEADER + 2 * k],
          logit: chunk_lists.f32[at + LIST_HEADER + 2 * k + 1],
        }))
      ).sort((a, b) => b.logit - a.logit || a.token - b.token);
      const to = row * LIST_WORDS;
      for (let k = 0; k < count; k++) {
        lists.u32[to + LIST_HEADER + 2 * k] = pairs[k].token;
        lists.f32[to + LIST_HEADER + 2 * k + 1] = pairs[k].logit;
      }
      const inverseTemperature = sampling.f32[row * SAMPLING_WORDS + 2];
      const largest = Math.max(...starts.map((at) => chunk_lists.f32[at]));
      const sum = (word: number, power: number) =>
        starts.reduce((total, at) => total + chunk_lists.f32[at + word] * Math.exp((chunk_lists.f32[at] - largest) * power), 0);
      const drawn = starts.reduce((best, at) => (chunk_lists.f32[at + 3] > chunk_lists.f32[best + 3] ? at : best));
      lists.f32[to] = largest + Math.log(sum(5, 1));
      lists.f32[to + 1] = largest * inverseTemperature + Math.log(sum(6, inverseTemperature));
      lists.u32[to + 2] = chunk_lists.u32[drawn + 2];
      lists.f32[to + 3] = chunk_lists.f32[drawn + 3];
      const target = sampling.u32[row * SAMPLING_WORDS + 3] - first_token;
      if (target >= 0 && target < vocabulary) lists.f32[to + 4] = logits.f32[row * vocabulary + target];
    }
  },
  wasm: ({ vocabulary }) => ({ at, allocate, reserve, call }) => {
    const chunks = ceilDiv(vocabulary, CHUNK_TOKENS);
    reserve(chunks * 4);
    const args = allocate(10);
    args.u32.set([at.logits, at.sampling, at.chunk_lists, at.lists, vocabulary, chunks, LIST_WORDS, LIST_HEADER]);
    return ({ rows, count, first_token }) => {
      args.u32.set([count, first_token], 8);
      call("merge_candidates", args, rows, chunks * (64 + count));
    };
  },
};
