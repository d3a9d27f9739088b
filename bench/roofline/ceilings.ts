/**
 * What a device reaches at best: bytes read per second, and f32 multiply-adds per second.
 *
 * @module
 */
import { isHost } from "../../core/device_kind.ts";
import { constants, type Kernel } from "../../kernels/authoring/contract.ts";
import type { Device } from "../../kernels/device/device.ts";
import { unroll } from "../../kernels/authoring/unroll.ts";
import type { Stopwatch } from "./stopwatch.ts";

/** Ceilings of a device. */
export interface Ceilings {
  readonly bytesPerSecond: number;
  /** Counting a multiply-add as two. */
  readonly flopPerSecond: number;
}

const THREADS = 256;
const GROUPS = 2048;
const ALL = GROUPS * THREADS;
/** Chains of multiply-adds that a thread keeps going. */
const CHAINS = 8;

/** y[thread] = sum of chains of x → x / 2 + 1: {@link CHAINS} vectors of four, `rounds` long. */
export const multiplyAdd: Kernel<null, "y", "rounds"> = {
  name: "multiply_add",
  bindings: { y: "read_write" },
  params: ["rounds"],
  wgsl: () =>
    constants({ THREADS }) + unroll(
      `
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  @unroll(i, CHAINS) {
    var chain_{i} = vec4(f32(id.x + {i}u));
  }
  for (var round = 0u; round < params.rounds; round++) {
    @unroll(i, CHAINS) {
      chain_{i} = fma(chain_{i}, vec4(0.5), vec4(1.0));
    }
  }
  var sum = vec4(0.0);
  @unroll(i, CHAINS) {
    sum += chain_{i};
  }
  y[id.x] = sum.x + sum.y + sum.z + sum.w;
}
`,
      { CHAINS },
    ),
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

/** Measures multiply-adds, and takes the stopwatch's reads. */
export async function measureCeilings(device: Device, stopwatch: Stopwatch): Promise<Ceilings> {
  const y = device.createBuffer("results", ALL * 4);
  const compute = { rounds: isHost(device.kind) ? 2 : 2048 };
  const computing = (await device.compile(multiplyAdd, null)).bind({ y }, compute);
  const ms = await stopwatch.milliseconds(() => device.run(computing, compute));
  y.destroy();
  // On the CPU each chain is one number, not four.
  const flop = 2 * ALL * CHAINS * compute.rounds * (isHost(device.kind) ? 1 : 4);
  return { bytesPerSecond: stopwatch.bytesPerSecond, flopPerSecond: flop / ms * 1000 };
}
