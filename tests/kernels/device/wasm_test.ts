/**
 * The device of WebAssembly kernels: its modules, its memory, and that threads change no bit. What kernels compute is tested with all others.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { LatentmeshError } from "../../../core/errors.ts";
import { allocateRows, matrixLayout, packRows, type WeightFormat } from "../../../core/model/packing.ts";
import { FP8_E4M3_VALUES } from "../../../core/numeric.ts";
import { matvec } from "../../../kernels/linear/matvec.ts";
import { type Block, WasmMemory } from "../../../kernels/device/wasm/wasm_memory.ts";
import { WasmDevice, type WasmOptions } from "../../../kernels/device/wasm/wasm_device.ts";
import { assertClose } from "../../support/compare.ts";
import { Random, SEED } from "../../../bench/support/random.ts";
import { randomMatrix } from "../../support/matrices.ts";
import { unpackModule } from "../../../kernels/device/wasm/packed_module.ts";
import { itOfWhole } from "../../support/extent.ts";
import { committedFile, compileWasm, VARIANTS } from "../../support/wasm/compile.ts";

describe("WebAssembly kernels", () => {
  itOfWhole("are committed as they compile: deno task wasm", async () => {
    for (const variant of VARIANTS) {
      assertEquals(await unpackModule(await Deno.readTextFile(committedFile(variant))), await compileWasm(variant), variant);
    }
  });

  it("give the same bits in any number of threads and items", async () => {
    const [outputs, columns, most] = [1030, 196, 9];
    const random = new Random(SEED);
    const weights = random.normals(outputs * columns);
    const x = random.normals(most * columns);
    const stored = (["bf16", "q8", "q4", "f32"] as const).map((format) => [format, pack(format, columns, weights, outputs)] as const);
    const int4 = (["bf16", "f16-zero"] as const).map((scaling, i) => {
      const layout = matrixLayout("int4", columns, [32, 128][i], scaling);
      return [`int4 ${scaling}`, { layout, ...randomMatrix(random, layout, outputs).packed }] as const;
    });
    for (const [format, packed] of [...stored, ...int4]) {
      const results = await Promise.all([1, 2, 3].map((threads) => multiply(threads, packed, x, { outputs, columns, most })));
      for (const result of results) assertEquals(result, results[0], format);
      for (let items = 1; items <= most; items++) {
        const some = await multiply(2, packed, x.subarray(0, items * columns), { outputs, columns, most: items });
        assertEquals(some, results[0].subarray(0, items * outputs), `${format}, ${items} of ${most}`);
      }
    }
  });

  it("give the same bits however bytes are multiplied, alone and in tiles", async () => {
    const random = new Random(SEED);
    for (const [outputs, columns, most] of [[37, 196, 13], [8, 64, 8], [3, 20, 9], [5, 1040, 2]] as const) {
      // Levels and inputs at their largest, of one sign, are what sums in fewer bits would not hold.
      const x = random.normals(most * columns).map((value, i) => i % 5 < 2 ? 4 : value);
      const weights = random.normals(outputs * columns).map((value, i) => i % 7 < 3 ? -4 : value);
      const packed = pack("q8", columns, weights, outputs);
      const [here, portable] = await Promise.all(
        [undefined, null].map((byteDots) => multiply(1, packed, x, { outputs, columns, most }, { byteDots })),
      );
      assertEquals(here, portable, `${outputs} × ${columns} × ${most}`);
      for (const format of ["q8", "q4"] as const) {
        const packed = pack(format, columns, weights, outputs);
        const all = await multiply(1, packed, x, { outputs, columns, most });
        const alone = Array.from(
          { length: most },
          (_, i) => multiply(1, packed, x.slice(i * columns, (i + 1) * columns), { outputs, columns, most: 1 }),
        );
        (await Promise.all(alone)).forEach((one, i) => assertEquals(one, all.subarray(i * outputs, (i + 1) * outputs), `${format}, item ${i}`));
      }
    }
  });

  it("multiply floats to the same bits alone and with any number of others", async () => {
    const random = new Random(SEED);
    for (const [outputs, columns, most] of [[7, 203, 18], [8, 48, 19], [1, 5, 8]] as const) {
      const weights = random.normals(outputs * columns);
      const x = random.normals(most * columns);
      const fp8 = (["one", "some"] as const).map((scales) => {
        const layout = matrixLayout("fp8", columns, scales === "one" ? Math.ceil(columns / 16) * 16 : 32);
        return [`fp8 with ${scales} scale of a row`, { layout, ...randomMatrix(random, layout, outputs).packed }] as const;
      });
      for (const [name, packed] of [...(["f32", "f16", "bf16"] as const).map((f) => [f, pack(f, columns, weights, outputs)] as const), ...fp8]) {
        const alone = new Float32Array(most * outputs);
        for (let i = 0; i < most; i++) {
          alone.set(await multiply(1, packed, x.slice(i * columns, (i + 1) * columns), { outputs, columns, most: 1 }), i * outputs);
        }
        for (const items of [2, 3, 4, 5, 7, most]) {
          const together = await multiply(1, packed, x.slice(0, items * columns), { outputs, columns, most: items });
          assertEquals(together, alone.subarray(0, items * outputs), `${name}, ${outputs} × ${columns}, ${items} items`);
        }
      }
    }
  });

  for (const group of [16, 112]) {
    it(`scale fp8 where scales are too large to be multiplied with inputs that make up for its exponent, a scale for ${group} of 100`, async () => {
      const [outputs, columns, most] = [6, 100, 5];
      const layout = matrixLayout("fp8", columns, group);
      const packed = { layout, ...allocateRows(layout, outputs) };
      const random = new Random(SEED);
      const x = random.normals(most * columns);
      const scales = new Float32Array(packed.scales.buffer);
      scales.forEach((_, i) => scales[i] = [1e-3, 127.5, 2 ** 39, -200, 3e4, 2 ** 100, -(2 ** 40), group === 16 ? 2 ** -130 : 2 ** -100][i % 8]);
      const expected = new Float64Array(most * outputs);
      for (let row = 0; row < outputs; row++) {
        for (let k = 0; k < columns; k++) {
          // All codes but NaN, denormals among them.
          const code = (row * columns + k) * 5 % 256;
          const byte = (code & 127) === 127 ? 0 : code;
          packed.data[row * layout.rowBytes + k] = byte;
          const weight = FP8_E4M3_VALUES[byte] * scales[row * layout.scaleRowBytes / 4 + Math.floor(k / group)];
          for (let item = 0; item < most; item++) expected[item * outputs + row] += weight * x[item * columns + k];
        }
      }
      const all = await multiply(1, packed, x, { outputs, columns, most });
      all.forEach((value, i) => assert(Math.abs(value - expected[i]) <= 1e-5 * Math.abs(expected[i]), `${value}, not ${expected[i]}`));
      assertEquals(await multiply(1, packed, x.slice(0, columns), { outputs, columns, most: 1 }), all.subarray(0, outputs));
    });
  }

  it("add integers of long rows without overflow", async () => {
    const [outputs, columns] = [5, 40_000];
    const layout = matrixLayout("int4", columns, 40_000, "f16-zero");
    const packed = { layout, rows: outputs, data: new Uint8Array(outputs * layout.rowBytes).fill(0xff), scales: new Uint8Array(outputs * 4) };
    packed.scales.forEach((_, i) => packed.scales[i] = [0x00, 0x3c, 0, 0][i % 4]);
    const result = await multiply(1, packed, new Float32Array(2 * columns).fill(1), { outputs, columns, most: 2 });
    // An input is a whole number of the row's largest's two millionths.
    assertClose(result, new Float32Array(2 * outputs).fill(15 * columns), 5e-7, "sums");
  });

  it("give threads as much to work with as the largest needs, though others ran before it was bound", async () => {
    const device = await WasmDevice.open({ threads: 3 });
    const random = new Random(SEED);
    for (const columns of [64, 20_000]) {
      const [outputs, most] = [400, 4];
      const packed = pack("bf16", columns, random.normals(outputs * columns), outputs);
      const x = random.normals(most * columns);
      const alone = await multiply(1, packed, x, { outputs, columns, most });
      assertEquals(await multiplyOn(device, packed, x, { outputs, columns, most }), alone, `${columns} columns`);
    }
    await device.close();
  });

  for (const [format, select] of [["q8", "all"], ["q4", "expert"], ["int4", "all"], ["bf16", "expert"]] as const) {
    it(`have nothing of their own that grows with inputs, where that lasts for a run: ${format}, select: ${select}`, () => {
      const layout = matrixLayout(format, 1024, 32);
      const chosen = select === "all" ? { kind: select } : { kind: select, perInput: 2 };
      const program = matvec.wasm!({ layout, outputs: 256, inputStride: 2048, input: "gated", select: chosen, itemsAtOnce: 1 })!;
      let [own, shared] = [0, 0];
      const words = (count: number) => ({ address: 64, u32: new Uint32Array(count), f32: new Float32Array(count) });
      program({
        at: { weights: 64, scales: 64, routes: 64, x: 64, y: 64 },
        views: {} as never,
        most: { items: 512, first_output: 0, part_outputs: 256, first_matrix: 0, matrices: 4 },
        byteDots: null,
        wide: false,
        allocate: (count) => (own += count, words(count)),
        share: (_, count) => (shared += count, words(count)),
        reserve() {},
        call() {},
      });
      assert(own < 2048, `${own} words`);
      assert(shared >= 512 / (select === "all" ? 1 : 2) * 1024, `${shared} words`);
    });
  }

  it("give layers that share memory for a run the bits that each has alone, in whatever order they are bound and run", async () => {
    const random = new Random(SEED);
    const layers = ([["q8", 96, 30, 9], ["int4", 416, 7, 3], ["q4", 1040, 18, 12], ["f32", 61, 5, 2], ["q8", 640, 12, 20]] as const).map(
      ([format, columns, outputs, most]) => {
        const layout = matrixLayout(format, columns, 32);
        const { packed } = randomMatrix(random, layout, outputs);
        return { packed: { layout, ...packed }, x: random.normals(2 * most * columns), shape: { outputs, columns, most } };
      },
    );
    const gated = "gated" as const;
    const alone = [];
    for (const { packed, x, shape } of layers) {
      const device = await WasmDevice.open({ threads: 1 });
      alone.push(await multiplyOn(device, packed, x, shape, gated));
      await device.close();
    }
    const device = await WasmDevice.open({ threads: 2 });
    for (let run = 0; run < 12; run++) {
      const i = random.below(layers.length);
      const { packed, x, shape } = layers[i];
      assertEquals(await multiplyOn(device, packed, x, shape, gated), alone[i], `${packed.layout.format}, ${shape.columns} columns`);
    }
    await device.close();
  });

  it("differ by rounding alone where products are rounded, too", async () => {
    const [outputs, columns] = [64, 512];
    const random = new Random(SEED);
    const packed = pack("f32", columns, random.normals(outputs * columns), outputs);
    const x = random.normals(columns);
    const [fused, plain] = await Promise.all([undefined, false].map((fma) => multiply(1, packed, x, { outputs, columns, most: 1 }, { fma })));
    const worst = fused.reduce((worst, value, i) => Math.max(worst, Math.abs(value - plain[i])), 0);
    assert(worst < 1e-4, `${worst}`);
  });
});

describe("memory of a WebAssembly device", () => {
  it("gives blocks of zeros that do not overlap, and takes them back", () => {
    const memory = new WasmMemory();
    const sizes = fc.array(fc.tuple(fc.integer({ min: 1, max: 70_000 }), fc.boolean(), fc.nat()), { maxLength: 40 });
    fc.assert(
      fc.property(sizes, (steps) => {
        const held: Block[] = [];
        for (const [bytes, frees, which] of steps) {
          if (frees && held.length > 0) {
            memory.free(held.splice(which % held.length, 1)[0]);
            continue;
          }
          const block = memory.allocate(bytes, "test");
          const { u8 } = memory.views(block, bytes);
          assert(u8.every((byte) => byte === 0), "zeros");
          new Uint8Array(memory.memory.buffer, block.address, block.bytes).fill(255);
          for (const other of held) {
            assert(block.address + block.bytes <= other.address || other.address + other.bytes <= block.address, "overlap");
          }
          held.push(block);
        }
        held.forEach((block) => memory.free(block));
      }),
      { seed: SEED, numRuns: 60 },
    );
    // All of it is one again.
    const [first] = [memory.allocate(1, "test")];
    assertEquals(first.address, 65536);
    assert(memory.memory.buffer.byteLength < 4 * 2 ** 20, "what was given back is used again");
  });

  it("says that it has 4 GiB at most", () => {
    const memory = new WasmMemory();
    const error = assertThrows(() => memory.allocate(5 * 2 ** 30, "weights"), LatentmeshError, "4 GiB at most");
    assertEquals((error as LatentmeshError).code, "out_of_memory");
    // What reads a little beyond the last block stays within the memory.
    const last = memory.allocate(2 ** 32 - 2 * 65536, "weights");
    assertEquals(last.address + last.bytes, 2 ** 32 - 65536);
    assertThrows(() => memory.allocate(1, "one more"), LatentmeshError, "4 GiB at most");
  });
});

type Packed = ReturnType<typeof pack>;

interface Shape {
  readonly outputs: number;
  readonly columns: number;
  readonly most: number;
}

function pack(format: WeightFormat, columns: number, weights: Float32Array, rows: number) {
  const layout = matrixLayout(format, columns);
  return { layout, ...packRows(layout, weights, rows) };
}

async function multiply(
  threads: number,
  packed: Packed,
  x: Float32Array<ArrayBuffer>,
  shape: Shape,
  options: Pick<WasmOptions, "fma" | "byteDots" | "wide"> = {},
): Promise<Float32Array> {
  const device = await WasmDevice.open({ ...options, threads });
  const result = await multiplyOn(device, packed, x, shape);
  await device.close();
  return result;
}

async function multiplyOn(
  device: WasmDevice,
  { layout, data, scales }: Packed,
  x: Float32Array<ArrayBuffer>,
  { outputs, columns, most }: Shape,
  input: "plain" | "gated" = "plain",
): Promise<Float32Array> {
  const buffer = (label: string, content: Uint8Array<ArrayBuffer> | Float32Array<ArrayBuffer>) => {
    const made = device.createBuffer(label, Math.max(4, content.byteLength));
    device.write(made, 0, content);
    return made;
  };
  const params = { items: most, first_output: 0, part_outputs: outputs, first_matrix: 0, matrices: 1 };
  const inputStride = input === "gated" ? 2 * columns : columns;
  const config = { layout, outputs, inputStride, input, select: { kind: "all" }, itemsAtOnce: 1 } as const;
  const y = device.createBuffer("y", most * outputs * 4);
  const routes = device.createBuffer("routes", 4);
  const compiled = await device.compile(matvec, config);
  const bound = compiled.bind({ weights: buffer("weights", data), scales: buffer("scales", scales), routes, x: buffer("x", x), y }, params);
  // Often enough for every thread to have begun.
  for (let run = 0; run < 3; run++) {
    device.run(bound, params);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const readback = await device.createReadback("y", y.bytes);
  device.read(readback, y, 0, y.bytes);
  return new Float32Array((await readback.take()).slice().buffer);
}
