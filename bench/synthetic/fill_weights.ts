/**
 * Random weights, made on the device in the bits of a storage format: as large in the mean as trained ones, so that activations stay finite.
 *
 * @module
 */
import { ceilDiv } from "../../core/numeric.ts";
import { constants, type Kernel } from "../../kernels/contract.ts";

/** What a word of weights or scales looks like. */
export type Bits = "f32" | "f16" | "bf16" | "fp8" | "levels" | "ones" | "scales f16" | "scales f32";

/** Words that one thread writes. */
const WORDS_EACH = 64;
const THREADS = 256;
/** Magnitude of weights: a power of two, so that f16 weights and scales need no rounding, which is each driver's own. */
const SIZE = 1 / 64;

/** One 32-bit word from 32 random bits, of each kind. Sizes: uniform in ±{@link SIZE}; q8 and q4 levels are random, their scales make them as small. */
const WORD: Readonly<Record<Bits, string>> = {
  f32: "return bitcast<u32>((f32(bits) / 2147483648.0 - 1.0) * SIZE);",
  f16: "return pack2x16float((vec2(f32(bits & 0x3ffu), f32((bits >> 16u) & 0x3ffu)) / 512.0 - 1.0) * SIZE);",
  bf16: `let value = bitcast<vec2<u32>>((vec2(f32(bits & 0xffffu), f32(bits >> 16u)) / 32768.0 - 1.0) * SIZE);
  return (value.x >> 16u) | (value.y & 0xffff0000u);`,
  // Sign and mantissa are random, the exponent is that of 1 / 64: all finite.
  fp8: "return (bits & 0x87878787u) | 0x08080808u;",
  levels: "return bits;",
  ones: "return bitcast<u32>(1.0);",
  "scales f16": "return pack2x16float(vec2(SIZE / 64.0));",
  "scales f32": "return bitcast<u32>(1.0);",
};

const VIEW = new DataView(new ArrayBuffer(4));

/** Fills `words` words. Other seeds, even the next, give other words, not the same ones elsewhere. */
export const fillWeights: Kernel<{ readonly bits: Bits }, "words", "words" | "seed"> = {
  name: "fill_weights",
  bindings: { words: "read_write" },
  params: ["words", "seed"],
  wgsl: ({ bits }) =>
    constants({ WORDS_EACH, THREADS }, { SIZE }) + `
@group(0) @binding(1) var<storage, read_write> words: array<u32>;

fn word_of(bits: u32) -> u32 {
  ${WORD[bits]}
}

// PCG (O'Neill, 2014), one output for each counter.
fn random(counter: u32) -> u32 {
  let state = counter * 747796405u + 2891336453u;
  let mixed = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (mixed >> 22u) ^ mixed;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
  // Counters of small seeds would be each other's, a few places further.
  let scattered = random(params.seed);
  let first = (group.y * 65535u + group.x) * THREADS * WORDS_EACH + thread;
  for (var i = 0u; i < WORDS_EACH; i++) {
    let at = first + i * THREADS;
    if (at < params.words) {
      words[at] = word_of(random(at ^ scattered));
    }
  }
}
`,
  workgroups: (_, { words }) => {
    const groups = ceilDiv(words, THREADS * WORDS_EACH);
    return [Math.min(groups, 65535), ceilDiv(groups, 65535), 1];
  },
  sizes: (_, { words }) => ({ words: words * 4 }),
  reference({ bits }, { words }, { words: count, seed }) {
    const scattered = random(seed);
    for (let i = 0; i < count; i++) words.u32[i] = wordOf(bits, random((i ^ scattered) >>> 0));
  },
};

function random(counter: number): number {
  const state = (Math.imul(counter, 747796405) + 2891336453) >>> 0;
  const mixed = Math.imul(((state >>> ((state >>> 28) + 4)) ^ state) >>> 0, 277803737) >>> 0;
  return ((mixed >>> 22) ^ mixed) >>> 0;
}

function wordOf(bits: Bits, random: number): number {
  const parts = (mask: number) => [random & mask, (random >>> 16) & mask].map((part) => (part / ((mask + 1) / 2) - 1) * SIZE);
  switch (bits) {
    case "f32":
      return float32((random / 2 ** 31 - 1) * SIZE);
    case "f16":
      return float16(parts(0x3ff)[0]) | (float16(parts(0x3ff)[1]) << 16);
    case "bf16":
      return (float32(parts(0xffff)[0]) >>> 16) | (float32(parts(0xffff)[1]) & 0xffff0000);
    case "fp8":
      return (random & 0x87878787) | 0x08080808;
    case "levels":
      return random;
    case "ones":
    case "scales f32":
      return float32(1);
    case "scales f16":
      return float16(SIZE / 64) | (float16(SIZE / 64) << 16);
    default:
      return bits satisfies never;
  }
}

function float32(value: number): number {
  VIEW.setFloat32(0, value);
  return VIEW.getUint32(0);
}

function float16(value: number): number {
  VIEW.setFloat16(0, value);
  return VIEW.getUint16(0);
}
