/**
 * What the emulated device must find, since no GPU does.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { Kernel } from "../../kernels/authoring/contract.ts";
import { runKernel } from "../support/kernel.ts";
import { EmulatedDevice } from "../support/wgsl/emulated_device.ts";

/** A kernel of one workgroup of two subgroups. */
function kernelOf(body: string): Kernel<null, "x" | "y", "count"> {
  return {
    name: "made up",
    bindings: { x: "read", y: "read_write" },
    params: ["count"],
    wgsl: () => `
alias Left = subgroup_matrix_left<f16, 16, 16>;
alias Right = subgroup_matrix_right<f16, 16, 16>;
alias Sums = subgroup_matrix_result<f32, 16, 16>;
@group(0) @binding(1) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
var<workgroup> tile: array<vec4<u32>, 64>;
var<workgroup> flag: u32;
var<workgroup> count: atomic<u32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
  ${body}
}`,
    workgroups: () => [1, 1, 1],
    sizes: () => ({ x: 0, y: 0 }),
    reference() {},
  };
}

async function run(body: string, floats = 512): Promise<Float32Array> {
  const halves = Float16Array.from({ length: 512 }, (_, i) => (i * 7) % 11 - 5);
  return (await runKernel(new EmulatedDevice(), kernelOf(body), null, { x: halves, y: new Float32Array(floats) }, { count: 3 })).y.f32;
}

const STORE = "tile[thread] = x[thread];";
const LOAD = "let left = subgroupMatrixLoad<Left, row_major>(&tile, 0u, 2u);";

describe("an emulated device", () => {
  it("multiplies matrices", async () => {
    const product = await run(`${STORE} workgroupBarrier(); ${LOAD}
      let right = subgroupMatrixLoad<Right, col_major>(&tile, 32u, 2u);
      let sums = subgroupMatrixMultiplyAccumulate(left, right, subgroupMatrixMultiplyAccumulate(left, right, Sums()));
      if (subgroup == 0u) { subgroupMatrixStore<row_major>(&y, 0u, sums, 16u); }`);
    const value = (i: number) => (i * 7) % 11 - 5;
    const expected = Array.from({ length: 256 }, (_, i) => {
      const [row, column] = [Math.floor(i / 16), i % 16];
      return 2 * Array.from({ length: 16 }, (_, k) => value(row * 16 + k) * value(256 + column * 16 + k)).reduce((a, b) => a + b);
    });
    assertEquals([...product.subarray(0, 256)], expected);
  });

  it("computes as WGSL does", async () => {
    const values = await run(`var at = 4294967295u; at += 2u;
      let v = vec4(1.5, 2.0, -3.0, 0.25) * 2.0;
      for (var i = 0u; i < params.count; i++) { if (i == 1u) { continue; } at += i; }
      let shared_value = subgroupShuffleXor(f32(lane), 1u);
      y[thread * 4u] = f32(at); y[thread * 4u + 1u] = max(v.x, dot_of(v.yz)); y[thread * 4u + 2u] = select(v.w, shared_value, lane > 0u);
      y[thread * 4u + 3u] = unpack2x16float(pack2x16float(v.xy)).y + bitcast<f32>(0x40000000u);`.replace("dot_of(v.yz)", "v.y + v.z"));
    assertEquals([...values.subarray(4, 8)], [3, 3, 0, 6]);
    assertEquals([...values.subarray(0, 4)], [3, 3, 0.5, 6]);
  });

  it("counts in atomic elements without a barrier, and holds shaders to what they assert", async () => {
    const counted = await run(`if (lane < 5u) { atomicAdd(&count, 2u); } workgroupBarrier(); if (thread == 0u) { y[0] = f32(atomicLoad(&count)); }`);
    assertEquals(counted[0], 20);
    const { wgsl, ...kernel } = kernelOf("");
    const asserting = (what: string) => ({ ...kernel, wgsl: () => `${wgsl(null)}\nconst_assert ${what};` });
    const inputs = { x: new Float32Array(4), y: new Float32Array(4) };
    await runKernel(new EmulatedDevice(), asserting("1u + 1u == 2u"), null, inputs, { count: 0 });
    await assertRejects(() => runKernel(new EmulatedDevice(), asserting("1u == 2u"), null, inputs, { count: 0 }), TypeError, "does not hold");
  });

  it("finds what is read without a barrier, and what is overwritten", async () => {
    await assertRejects(() => run(`${STORE} ${LOAD}`), Error, "subgroup 0 reads word 0 of tile, which thread 0 wrote");
    await assertRejects(() => run(`${STORE} workgroupBarrier(); ${LOAD} tile[63u - thread] = vec4(thread);`), Error, "which several threads read");
    await assertRejects(() => run("tile[thread / 2u] = vec4(thread);"), Error, "thread 1 writes word 0 of tile, which thread 0 wrote");
    // What all write alike is no race, as where whoever sees something raises a flag.
    await run("flag = 1u; workgroupBarrier(); if (workgroupUniformLoad(&flag) != 1u) { y[0] = 1.0; }");
  });

  it("runs what it has captured where it is played", async () => {
    const device = new EmulatedDevice();
    const y = device.createBuffer("y", 1024);
    const kernel = await device.compile(kernelOf("if (thread == 0u) { y[0] += 1.0; }"), null);
    const bound = kernel.bind({ x: device.createBuffer("x", 16), y }, { count: 0 });
    const script = device.capture(() => device.run(bound, { count: 0 }));
    const readback = await device.createReadback("y", 4);
    for (const played of [0, 1, 2]) {
      if (played > 0) device.play(script);
      device.read(readback, y, 0, 4);
      assertEquals(new Float32Array((await readback.take()).slice().buffer)[0], played);
    }
    await device.close();
  });

  it("finds access beyond a buffer, matrices that begin anywhere, and threads that are apart", async () => {
    await assertRejects(() => run("y[thread * 16u] = 1.0;"), RangeError, "y has 512 words, and word 512 is written");
    await assertRejects(() => run("tile[thread + 1u] = vec4(0u);"), RangeError, "Element 64 of 64");
    const Misaligned = "subgroupMatrixStore<row_major>(&y, 1u, Sums(), 16u);";
    await assertRejects(() => run(Misaligned), Error, "begins at byte 4");
    await assertRejects(() => run(`if (lane == 0u) { ${LOAD} }`), Error, "are apart");
    await assertRejects(() => run("if (subgroup == 0u) { workgroupBarrier(); }"), Error, "have ended where others wait");
  });

  it("finds buffers that are bound twice where they may be written, as WebGPU refuses them", async () => {
    const device = new EmulatedDevice();
    const buffer = device.createBuffer("both", 1024);
    const [mayWrite, reads] = [await device.compile(kernelOf(""), null), { ...kernelOf(""), bindings: { x: "read", y: "read" } } as const];
    assertThrows(() => mayWrite.bind({ x: buffer, y: buffer }, { count: 0 }), Error, "bound as x and y");
    (await device.compile(reads, null)).bind({ x: buffer, y: buffer }, { count: 0 });
    await device.close();
  });
});
