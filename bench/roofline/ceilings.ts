/**
 * What a device reaches at best: bytes read per second, and f32 multiply-adds per second.
 *
 * @module
 */
import { constants, type Kernel } from "../../kernels/contract.ts";
import type { Device } from "../../kernels/device.ts";
import { medianTime } from "./timing.ts";

/** Ceilings of a device. */
export interface Ceilings {
  readonly bytesPerSecond: number;
  /** Counting a multiply-add as two. */
  readonly flopPerSecond: number;
}

const THREADS = 256;
const GROUPS = 2048;
const ALL = GROUPS * THREADS;
/** Vectors of four words that a thread reads before it uses any. */
const AHEAD = 4;
/** Chains of multiply-adds that a thread keeps going. */
const CHAINS = 8;

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

/** y[thread] = sum of chains of x → x / 2 + 1: {@link CHAINS} vectors of four, `rounds` long. */
export const multiplyAdd: Kernel<null, "y", "rounds"> = {
  name: "multiply_add",
  bindings: { y: "read_write" },
  params: ["rounds"],
  wgsl: () =>
    constants({ THREADS, CHAINS }) + `
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  var chains: array<vec4<f32>, CHAINS>;
  for (var i = 0u; i < CHAINS; i++) {
    chains[i] = vec4(f32(id.x + i));
  }
  for (var round = 0u; round < params.rounds; round++) {
    for (var i = 0u; i < CHAINS; i++) {
      chains[i] = fma(chains[i], vec4(0.5), vec4(1.0));
    }
  }
  var sum = vec4(0.0);
  for (var i = 0u; i < CHAINS; i++) {
    sum += chains[i];
  }
  y[id.x] = sum.x + sum.y + sum.z + sum.w;
}
`,
  workgroups: () => [GROUPS, 1, 1],
  sizes: () => ({ y: ALL * 4 }),
  reference(_, { y }, { rounds }) {
    for (let thread = 0; thread < ALL; thread++) {
      let sum = 0;
      for (let i = 0; i < CHAINS; i++) {
        let chain = thread + i;
        for (let round = 0; round < rounds; round++) chain = chain * 0.5 + 1;
        sum += 4 * chain;
      }
      y.f32[thread] = sum;
    }
  },
};

/** Measures both. @param bytes read at a time: several times what caches hold */
export async function measureCeilings(device: Device, bytes: number): Promise<Ceilings> {
  const x = device.createBuffer("what is read", bytes);
  const y = device.createBuffer("results", ALL * 4);
  const read = { vectors: Math.floor(bytes / 16) };
  const reading = (await device.compile(readWords, null)).bind({ x, y }, read);
  const readMs = await medianTime(device, () => device.run(reading, read));
  const compute = { rounds: device.kind === "cpu" ? 2 : 2048 };
  const computing = (await device.compile(multiplyAdd, null)).bind({ y }, compute);
  const computeMs = await medianTime(device, () => device.run(computing, compute));
  x.destroy();
  y.destroy();
  // On the CPU each chain is one number, not four.
  const flop = 2 * ALL * CHAINS * compute.rounds * (device.kind === "cpu" ? 1 : 4);
  return { bytesPerSecond: bytes / readMs * 1000, flopPerSecond: flop / computeMs * 1000 };
}
