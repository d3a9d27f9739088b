/**
 * The same word everywhere: scales of weights that are as large as each other.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../authoring/contract.ts";

const THREADS = 256;
const WORDS_EACH = 64;

/** words[0 … count] = value. */
export const fillWords: Kernel<null, "words", "count" | "value"> = {
  name: "fill_words",
  bindings: { words: "read_write" },
  params: ["count", "value"],
  wgsl: () =>
    constants({ THREADS, WORDS_EACH }) + `
@group(0) @binding(1) var<storage, read_write> words: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  let first = group.x * THREADS * WORDS_EACH + thread;
  for (var i = 0u; i < WORDS_EACH; i++) {
    if (first + i * THREADS < params.count) {
      words[first + i * THREADS] = params.value;
    }
  }
}
`,
  workgroups: (_, { count }) => [ceilDiv(count, THREADS * WORDS_EACH), 1, 1],
  sizes: (_, { count }) => ({ words: count * 4 }),
  reference(_, { words: { u32 } }, { count, value }) {
    u32.fill(value, 0, count);
  },
};
