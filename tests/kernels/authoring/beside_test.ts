import { isHost } from "../../../core/device_kind.ts";
import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { matrixLayout, packRows } from "../../../core/model/packing.ts";
import { Beside, beside } from "../../../kernels/device/beside.ts";
import type { Kernel } from "../../../kernels/authoring/contract.ts";
import type { Device } from "../../../kernels/device/device.ts";
import { matvec } from "../../../kernels/linear/matvec.ts";
import { addRmsNorm } from "../../../kernels/rms_norm/add_rms_norm.ts";
import { residualAdd } from "../../../kernels/residual_add/residual_add.ts";
import { describeOnDevices, openTestDevice } from "../../support/devices.ts";
import { runKernel } from "../../support/kernel.ts";
import { Random } from "../../../bench/support/random.ts";

/** y = factor · x, a workgroup for every value. */
function scale(factor: number, threads = 64): Kernel<{ readonly rows: number }, "x" | "y", "columns"> {
  return {
    name: "scale",
    bindings: { x: "read", y: "read_write" },
    params: ["columns"],
    wgsl: () => `
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

const THREADS = ${threads};
const FACTOR = f32(${factor});

var<workgroup> scaled: f32;

fn times(value: f32) -> f32 {
  return value * FACTOR;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
  let at = group.y * params.columns + group.x;
  if (thread == 0u) {
    scaled = times(x[at]);
  }
  workgroupBarrier();
  if (thread == THREADS - 1) {
    y[at] = scaled;
  }
}
`,
    workgroups: ({ rows }, { columns }) => [columns, rows, 1],
    sizes: ({ rows }, { columns }) => ({ x: rows * columns * 4, y: rows * columns * 4 }),
    reference({ rows }, { x, y }, { columns }) {
      for (let i = 0; i < rows * columns; i++) y.f32[i] = x.f32[i] * factor;
    },
  };
}

const grid = (first: readonly [number, number], second: readonly [number, number]) => ({
  columns_of_first: first[0],
  groups_of_first: first[0] * first[1],
  columns_of_second: second[0],
  groups_of_second: second[0] * second[1],
});

describeOnDevices("kernels side by side", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  it("do what each does alone, whatever their sizes", async () => {
    const both = beside(scale(2), scale(-3));
    await fc.assert(
      fc.asyncProperty(fc.nat(5), fc.nat(40), fc.nat(5), fc.nat(40), async (rowsA, columnsA, rowsB, columnsB) => {
        const [a, b] = [
          Float32Array.from({ length: rowsA * columnsA }, (_, i) => i),
          Float32Array.from({ length: rowsB * columnsB }, (_, i) => 7 - i),
        ];
        const { first_y, second_y } = await runKernel(
          device,
          both,
          { first: { rows: rowsA }, second: { rows: rowsB } },
          { first_x: a, first_y: { poison: a.length }, second_x: b, second_y: { poison: b.length } },
          { first_columns: columnsA, second_columns: columnsB, ...grid([columnsA, rowsA], [columnsB, rowsB]) },
        );
        assertEquals(first_y.f32, a.map((value) => value * 2));
        assertEquals(second_y.f32, b.map((value) => value * -3));
      }),
      { numRuns: isHost(kind) ? 100 : 20 },
    );
  });

  it("may be more workgroups than fit in one dimension", async () => {
    const rows = 2, columns = 40_000;
    const x = Float32Array.from({ length: rows * columns }, (_, i) => i);
    const { first_y, second_y } = await runKernel(
      device,
      beside(scale(2), scale(3)),
      { first: { rows }, second: { rows } },
      { first_x: x, first_y: { poison: x.length }, second_x: x, second_y: { poison: x.length } },
      { first_columns: columns, second_columns: columns, ...grid([columns, rows], [columns, rows]) },
    );
    assertEquals(first_y.f32, x.map((value) => value * 2));
    assertEquals(second_y.f32, x.map((value) => value * 3));
  });

  it("share what they both read, and names of their sources do not clash", async () => {
    const random = new Random();
    const layouts = [matrixLayout("q4", 96), matrixLayout("bf16", 96)];
    const outputs = [40, 13];
    const packed = layouts.map((layout, i) => packRows(layout, random.normals(outputs[i] * 96), outputs[i]));
    const [items, x] = [3, random.normals(3 * 96)];
    const configs = layouts.map((layout, i) => ({
      layout,
      outputs: outputs[i],
      inputStride: 96,
      input: "plain" as const,
      select: { kind: "all" as const },
      itemsAtOnce: 1,
    }));
    const params = outputs.map((part_outputs) => ({ items, first_output: 0, part_outputs, first_matrix: 0, matrices: 1 }));
    const results = [];
    for (const i of [0, 1]) {
      const buffers = { weights: packed[i].data, scales: packed[i].scales, routes: new Uint32Array(4), x, y: { poison: items * outputs[i] } };
      results.push((await runKernel(device, matvec, configs[i], buffers, params[i])).y.f32);
    }
    const buffer = (data: ArrayBufferView<ArrayBuffer>) => {
      const made = device.createBuffer("test", Math.max(16, data.byteLength));
      if (data.byteLength > 0) device.write(made, 0, data);
      return made;
    };
    const shared = buffer(x);
    const outs = outputs.map((count) => device.createBuffer("y", items * count * 4));
    const side = (i: number) => ({
      kernel: matvec,
      config: configs[i],
      buffers: { weights: buffer(packed[i].data), scales: buffer(packed[i].scales), routes: shared, x: shared, y: outs[i] },
      most: params[i],
    });
    const both = await Beside.create(device, side(0), side(1), { x: "x", routes: "routes" });
    both!.run(params[0], params[1]);
    for (const i of [0, 1]) {
      const readback = await device.createReadback("y", outs[i].bytes);
      device.read(readback, outs[i], 0, items * outputs[i] * 4);
      device.submit();
      assertEquals(new Float32Array((await readback.take()).slice().buffer), results[i]);
      readback.destroy();
    }
  });

  it("are not made one where the device cannot bind as many buffers", async () => {
    const few = await openTestDevice(kind, { maxBindings: 3 });
    const [a, b] = [few.createBuffer("a", 64), few.createBuffer("b", 64)];
    const side = { kernel: scale(1), config: { rows: 1 }, buffers: { x: a, y: b }, most: { columns: 4 } };
    assertEquals(await Beside.create(few, side, { ...side, buffers: { x: a, y: few.createBuffer("c", 64) } }), null);
    await few.close();
  });

  it("are not made one where their workgroup memory together is more than the device has", async () => {
    const small = await openTestDevice(kind, { maxWorkgroupBytes: 16384 });
    for (const [bytes, fits] of [[8192, true], [8208, false]] as const) {
      const [x, y, z] = ["x", "y", "z"].map((name) => small.createBuffer(name, 64));
      const kernel = () => ({ ...scale(1), workgroupBytes: () => [bytes - 20, 4] });
      const side = { kernel: kernel(), config: { rows: 1 }, buffers: { x, y }, most: { columns: 4 } };
      const made = await Beside.create(small, side, { ...side, kernel: kernel(), buffers: { x, y: z } });
      assertEquals(made !== null, fits, `${bytes} bytes each`);
      const alike = await Beside.create(small, side, { ...side, buffers: { x, y: z } });
      assertEquals(alike !== null, true, "one kernel needs its memory once");
    }
    await small.close();
  });

  it("need equally many threads, and no workgroups in z", async () => {
    const different = beside(scale(1, 64), scale(1, 128));
    if (!isHost(kind)) await assertRejects(() => device.compile(different, { first: { rows: 1 }, second: { rows: 1 } }));
    const deep: Kernel<{ readonly rows: number }, "x" | "y", "columns"> = { ...scale(1), workgroups: () => [1, 1, 2] };
    const [x, y, z] = ["x", "y", "z"].map((name) => device.createBuffer(name, 64));
    const side = { kernel: deep, config: { rows: 1 }, buffers: { x, y }, most: { columns: 4 } };
    await assertRejects(() => Beside.create(device, side, { ...side, buffers: { x, y: z } }), Error, "workgroups in z");
  });

  it("do not write what the other only reads", () => {
    assertThrows(() => beside(scale(1), scale(2), { y: "x" }), TypeError, "it writes y");
  });

  it("ask for nothing but their workgroup and thread", () => {
    const both = beside(addRmsNorm, residualAdd);
    assertThrows(() => both.wgsl({ first: { width: 64, eps: 1e-6 }, second: { width: 64 } }), TypeError, "global_invocation_id");
  });
});
