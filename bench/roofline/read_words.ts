/**
 * Reads memory and does next to nothing else: how fast a device reads at best.
 *
 * @module
 */
import { constants, type Kernel } from "../../kernels/authoring/contract.ts";

const THREADS = 256;
const GROUPS = 2048;
const ALL = GROUPS * THREADS;
/** Vectors of four words that a thread reads before it uses any. */
const AHEAD = 4;

/** Bytes of y. */
export const READ_RESULTS_BYTES = ALL * 4;

/** y[thread] = exclusive or of the words that the thread reads of x: [vectors, 4], in strides of all threads. */
export const readWords: Kernel<null, "x" | "y", "vectors"> = {
  name: "read_words",
  bindings: { x: "read", y: "read_write" },
  params: ["vectors"],
  wgsl: () =>
    constants({ THREADS, ALL, AHEAD }) + `
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  var seen = vec4(0u);
  for (var at = id.x; at < params.vectors; at += AHEAD * ALL) {
    var ahead: array<vec4<u32>, AHEAD>;
    for (var i = 0u; i < AHEAD; i++) {
      ahead[i] = x[min(at + i * ALL, params.vectors - 1u)];
    }
    for (var i = 0u; i < AHEAD; i++) {
      seen ^= ahead[i];
    }
  }
  y[id.x] = seen.x ^ seen.y ^ seen.z ^ seen.w;
}
`,
  workgroups: () => [GROUPS, 1, 1],
  sizes: (_, { vectors }) => ({ x: vectors * 16, y: ALL * 4 }),
  reference(_, { x, y }, { vectors }) {
    for (let thread = 0; thread < ALL; thread++) {
      let seen = 0;
      for (let at = thread; at < vectors; at += AHEAD * ALL) {
        for (let i = 0; i < AHEAD; i++) {
          const word = Math.min(at + i * ALL, vectors - 1) * 4;
          seen ^= x.u32[word] ^ x.u32[word + 1] ^ x.u32[word + 2] ^ x.u32[word + 3];
        }
      }
      y.u32[thread] = seen;
    }
  },
};
