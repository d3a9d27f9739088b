/**
 * First of two passes over the logits: per chunk of the vocabulary, what sampling needs to know. `merge_candidates` is the second.
 *
 * @module
 */
import { LIST_HEADER, LIST_WORDS } from "../../core/sampling/candidates.ts";
import { ceilDiv } from "../../core/numeric.ts";
import { gumbel } from "../../core/random.ts";
import { constants, type HostBuffer, type Kernel, type Params } from "../authoring/contract.ts";
import random from "../authoring/random.wgsl" with { type: "text" };
import { unroll } from "../authoring/unroll.ts";
import source from "./candidates.wgsl" with { type: "text" };
import { CHUNK_TOKENS, REDUCING_THREADS, SAMPLING_WORDS } from "./layout.ts";
import noise from "./noise.wgsl" with { type: "text" };
import reduce from "./reduce.wgsl" with { type: "text" };

/** Tokens whose logits are in the buffer. */
export interface CandidatesConfig {
  readonly vocabulary: number;
}

/** `count`: candidates per row; `draw`: 1 to run Gumbel-max; `first_token`: id of the first logit (vocabulary shards). */
export type CandidatesParams = "rows" | "count" | "draw" | "first_token";

/** Token id of an empty place in a list. */
const NO_TOKEN = 0xffffffff;

/** Stands for minus infinity on the device. */
export const LOWEST = -3.0e38;

/**
 * logits: [rows, vocabulary], sampling: [rows, 4] words → lists: [rows, chunks, LIST_WORDS]. A chunk's list: largest logit, –, drawn token and score,
 * –, Σ exp(l − largest), Σ exp((l − largest) / temperature), –, then its best `count` (token, logit) pairs.
 */
export const candidates: Kernel<CandidatesConfig, "logits" | "sampling" | "lists", CandidatesParams> = {
  name: "candidates",
  bindings: { logits: "read", sampling: "read", lists: "read_write" },
  params: ["rows", "count", "draw", "first_token"],
  wgsl: ({ vocabulary }) =>
    constants({ THREADS: REDUCING_THREADS, VOCABULARY: vocabulary, CHUNK_TOKENS, LIST_HEADER, LIST_WORDS }) + random + noise + reduce +
    unroll(source, { PER_THREAD: CHUNK_TOKENS / REDUCING_THREADS }),
  workgroups: ({ vocabulary }, { rows }) => [ceilDiv(vocabulary, CHUNK_TOKENS), rows, 1],
  sizes: ({ vocabulary }, { rows }) => ({
    logits: rows * vocabulary * 4,
    sampling: rows * SAMPLING_WORDS * 4,
    lists: rows * ceilDiv(vocabulary, CHUNK_TOKENS) * LIST_WORDS * 4,
  }),
  reference({ vocabulary }, buffers, params) {
    const chunks = ceilDiv(vocabulary, CHUNK_TOKENS);
    for (let row = 0; row < params.rows; row++) {
      for (let chunk = 0; chunk < chunks; chunk++) reduceChunk(vocabulary, buffers, params, row, chunk, chunks);
    }
  },
  wasm: ({ vocabulary }) => ({ at, allocate, call }) => {
    const args = allocate(11);
    const chunks = ceilDiv(vocabulary, CHUNK_TOKENS);
    args.u32.set([at.logits, at.sampling, at.lists, vocabulary, CHUNK_TOKENS, chunks, LIST_WORDS, LIST_HEADER]);
    return ({ rows, count, draw, first_token }) => {
      args.u32.set([count, draw, first_token], 8);
      call("candidates", args, rows * chunks, CHUNK_TOKENS * 16);
    };
  },
};

function reduceChunk(
  vocabulary: number,
  { logits, sampling, lists }: Readonly<Record<"logits" | "sampling" | "lists", HostBuffer>>,
  { count, draw, first_token }: Params<CandidatesParams>,
  row: number,
  chunk: number,
  chunks: number,
): void {
  const begin = chunk * CHUNK_TOKENS;
  const values = logits.f32.subarray(row * vocabulary + begin, row * vocabulary + Math.min(vocabulary, begin + CHUNK_TOKENS));
  const [key, position] = sampling.u32.subarray(row * SAMPLING_WORDS);
  const inverseTemperature = sampling.f32[row * SAMPLING_WORDS + 2];
  const to = (row * chunks + chunk) * LIST_WORDS;

  const best = bestOf(values, Math.max(count, 1));
  const largest = values[best[0]];
  let plain = 0, tempered = 0, drawn = LOWEST, drawnToken = NO_TOKEN;
  for (let i = 0; i < values.length; i++) {
    plain += Math.exp(values[i] - largest);
    tempered += Math.exp((values[i] - largest) * inverseTemperature);
    if (draw === 1) {
      const score = values[i] * inverseTemperature + gumbel(key, position, first_token + begin + i);
      if (score > drawn) [drawn, drawnToken] = [score, first_token + begin + i];
    }
  }
  lists.f32[to] = largest;
  lists.u32[to + 2] = drawnToken;
  lists.f32[to + 3] = drawn;
  lists.f32[to + 5] = plain;
  lists.f32[to + 6] = tempered;
  for (let k = 0; k < Math.max(count, 1); k++) {
    lists.u32[to + LIST_HEADER + 2 * k] = k < best.length ? first_token + begin + best[k] : NO_TOKEN;
    lists.f32[to + LIST_HEADER + 2 * k + 1] = k < best.length ? values[best[k]] : LOWEST;
  }
}

/** Indices of the `count` largest values, descending; of equals the lower index first. One pass with a short sorted list. */
function bestOf(values: Float32Array, count: number): number[] {
  const best: number[] = [];
  for (let i = 0; i < values.length; i++) {
    if (best.length === count && !(values[i] > values[best[count - 1]])) continue;
    let at = best.length;
    while (at > 0 && values[i] > values[best[at - 1]]) at--;
    best.splice(at, 0, i);
    if (best.length > count) best.pop();
  }
  return best;
}
