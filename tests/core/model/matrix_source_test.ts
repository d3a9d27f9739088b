import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { type MatrixSelection, MatrixSource, readBlock, readMatrix, type WeightPolicy } from "../../../core/model/matrix_source.ts";
import type { Fp8Block } from "../../../core/model/fp8_scales.ts";
import { readVector } from "../../../core/model/stored_vector.ts";
import { unpackRow } from "../../../core/model/packing.ts";
import { FP8_E4M3_VALUES, toHalfBits } from "../../../core/numeric.ts";
import { relativeError } from "../../support/compare.ts";
import { Random } from "../../../bench/support/random.ts";
import { type TensorData, writeSafetensors } from "../../../core/model/safetensors_writer.ts";
import { memoryFiles } from "../../support/safetensors.ts";

const bytesOf = (view: ArrayBufferView<ArrayBuffer>) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const open = (tensors: TensorData[]) => Checkpoint.open(memoryFiles({ "model.safetensors": writeSafetensors(tensors) }));

/** All selected rows, widened. */
async function read(source: MatrixSource, policy: WeightPolicy): Promise<number[][]> {
  const layout = source.layout(policy);
  const rows: number[][] = [];
  for (const block of source.blocks(policy)) {
    const { data, scales } = await readBlock(block, layout);
    const views = (bytes: Uint8Array<ArrayBuffer>) => ({ f32: new Float32Array(bytes.buffer), u16: new Uint16Array(bytes.buffer), u8: bytes });
    for (let row = 0; row < block.rows; row++) {
      const values = new Float32Array(layout.columns);
      unpackRow(layout, views(data), views(scales), row, values);
      rows.push([...values]);
    }
  }
  return rows;
}

/** The bfloat16 whose bits are the upper half. */
const truncated = (value: number) => new Float32Array(new Uint32Array([new Uint32Array(new Float32Array([value]).buffer)[0] & 0xffff0000]).buffer)[0];

/** An FP8 matrix with its scales, and its values. */
function fp8Matrix(rows: number, columns: number, block: readonly [number, number]): { tensors: TensorData[]; values: number[][] } {
  const random = new Random();
  const bits = Uint8Array.from({ length: rows * columns }, () => random.below(0x7f) | (random.below(2) << 7));
  const shape = [Math.ceil(rows / block[0]), Math.ceil(columns / block[1])];
  const scales = random.normals(shape[0] * shape[1]);
  const values = Array.from(
    { length: rows },
    (_, r) =>
      Array.from(
        { length: columns },
        (_, c) => Math.fround(FP8_E4M3_VALUES[bits[r * columns + c]] * scales[Math.floor(r / block[0]) * shape[1] + Math.floor(c / block[1])]),
      ),
  );
  return {
    tensors: [
      { name: "w", dtype: "F8_E4M3", shape: [rows, columns], bytes: bits },
      { name: "w_scale_inv", dtype: "F32", shape, bytes: bytesOf(scales) },
    ],
    values,
  };
}

describe("MatrixSource", () => {
  for (const block of [[32, 32], [128, 128], [7, 12], [5, 9]] as const) {
    it(`reads FP8 with blocks of ${block.join("×")}, whole or in part`, async () => {
      const [rows, columns] = [45, 70];
      const { tensors, values } = fp8Matrix(rows, columns, block);
      const checkpoint = await open(tensors);
      const select = (selection: MatrixSelection) => new MatrixSource(checkpoint, "w", [rows, columns], { ...selection, fp8Block: block });
      assertEquals(await read(select({}), "keep"), values);
      const part = select({ rows: [{ begin: 3, end: 9 }, { begin: 30, end: 45 }], columns: { begin: 20, end: 61 } });
      const expected = [...values.slice(3, 9), ...values.slice(30, 45)].map((row) => row.slice(20, 61));
      assertEquals(await read(part, "keep"), expected);
      assertEquals([...await readMatrix(part)], expected.flat());
    });
  }

  const alone: [name: string, fp8Block: "tensor" | "channel", block: readonly [number, number], shapes: number[][]][] = [
    ["a tensor", "tensor", [45, 72], [[], [1], [1, 1]]],
    ["each row", "channel", [1, 72], [[45], [45, 1]]],
  ];
  for (const [name, fp8Block, block, shapes] of alone) {
    it(`reads FP8 with one scale for ${name}, whole or in part, whatever shape and name scales have`, async () => {
      const [rows, columns] = [45, 72];
      const { tensors: [weights, { bytes }] } = fp8Matrix(rows, columns, block);
      const wide = [...new Float32Array(bytes.buffer)];
      const half = new Float16Array(wide);
      const stored: [dtype: TensorData["dtype"], bytes: Uint8Array<ArrayBuffer>, values: number[]][] = [
        ["F32", bytes, wide],
        ["F16", bytesOf(half), [...half]],
        ["BF16", Uint8Array.from(wide.flatMap((_, i) => [bytes[4 * i + 2], bytes[4 * i + 3]])), wide.map(truncated)],
      ];
      for (const [dtype, bytes, scales] of stored) {
        const values = Array.from(
          { length: rows },
          (_, r) =>
            Array.from(
              { length: columns },
              (_, c) => Math.fround(FP8_E4M3_VALUES[weights.bytes[r * columns + c]] * scales[fp8Block === "tensor" ? 0 : r]),
            ),
        );
        for (const shape of shapes) {
          const checkpoint = await open([weights, { name: shape.length === 1 ? "w_scale" : "w_scale_inv", dtype, shape, bytes }]);
          const select = (selection: MatrixSelection) => new MatrixSource(checkpoint, "w", [rows, columns], { ...selection, fp8Block });
          assertEquals(await read(select({}), "keep"), values, `${dtype} [${shape}]`);
          assertEquals(select({}).layout("keep").format, "fp8");
          const part = select({ rows: [{ begin: 40, end: 45 }, { begin: 3, end: 9 }], columns: { begin: 24, end: 63 } });
          assertEquals(await read(part, "keep"), [...values.slice(40, 45), ...values.slice(3, 9)].map((row) => row.slice(24, 63)));
        }
        const other = await open([weights, {
          name: "w_scale",
          dtype,
          shape: [bytes.length / (dtype === "F32" ? 4 : 2), 2],
          bytes: new Uint8Array(2 * bytes.length),
        }]);
        assertThrows(() => new MatrixSource(other, "w", [rows, columns], { fp8Block }), LatentmeshError, "w_scale");
      }
    });
  }

  it("keeps f16 and bf16 as they are, and quantises within the format's error", async () => {
    const random = new Random();
    const values = random.normals(6 * 150);
    const half = toHalfBits(values);
    const checkpoint = await open([{ name: "w", dtype: "F16", shape: [6, 150], bytes: bytesOf(half) }]);
    const source = new MatrixSource(checkpoint, "w", [6, 150], { fp8Block: null });
    const exact = [...Float32Array.from(new Float16Array(half.buffer))];
    assertEquals((await read(source, "keep")).flat(), exact);
    // Uniform steps of max/127 and max/8 over normal values.
    assertEquals(relativeError((await read(source, "q8")).flat(), exact) < 0.008, true);
    assertEquals(relativeError((await read(source, "q4")).flat(), exact) < 0.1, true);
  });

  it("quantises zeros to zeros", async () => {
    const checkpoint = await open([{ name: "w", dtype: "F32", shape: [1, 70], bytes: new Uint8Array(280) }]);
    const source = new MatrixSource(checkpoint, "w", [1, 70], { fp8Block: null });
    for (const policy of ["q8", "q4"] as const) assertEquals((await read(source, policy))[0].map(Math.abs), new Array(70).fill(0));
  });

  it("counts the rows of a stack of matrices from the first one on", async () => {
    const values = new Random().normals(3 * 4 * 5);
    const tensors: TensorData[] = [
      { name: "w", dtype: "F32", shape: [3, 4, 5], bytes: bytesOf(values) },
    ];
    const checkpoint = await open(tensors);
    const select = (selection: MatrixSelection) => new MatrixSource(checkpoint, "w", [3, 4, 5], { ...selection, fp8Block: null });
    const rows = Array.from({ length: 12 }, (_, r) => [...values.subarray(5 * r, 5 * r + 5)]);
    assertEquals(await read(select({}), "keep"), rows);
    const part = select({ rows: [{ begin: 9, end: 11 }, { begin: 2, end: 5 }], columns: { begin: 1, end: 4 } });
    assertEquals(await read(part, "keep"), [9, 10, 2, 3, 4].map((r) => rows[r].slice(1, 4)));
    const make = (name: string, shape: [number, number, number]) => () => new MatrixSource(checkpoint, name, shape, { fp8Block: [4, 5] });
    assertThrows(make("w", [4, 3, 5]), LatentmeshError, "[3, 4, 5] where config.json implies [4, 3, 5]");
  });

  it("reads stacks of matrices in FP8, each with scales of its own, however many there are", async () => {
    const random = new Random();
    const [matrices, rows, columns] = [3, 6, 10];
    const bits = Uint8Array.from({ length: matrices * rows * columns }, () => random.below(0x7f) | random.below(2) << 7);
    /** @param shape of scales @param at which of them a row and a column of a matrix have */
    const cases: [fp8Block: Fp8Block, shape: number[], at: (matrix: number, row: number, column: number) => number][] = [
      [[4, 8], [3, 2, 2], (m, row, column) => m * 4 + Math.floor(row / 4) * 2 + Math.floor(column / 8)],
      ["channel", [3, 6, 1], (m, row) => m * 6 + row],
      ["channel", [3, 6], (m, row) => m * 6 + row],
      ["tensor", [3, 1, 1], (m) => m],
      ["tensor", [3], (m) => m],
      ["tensor", [1], () => 0],
      ["tensor", [3, 2, 1], (m, row) => m * 2 + Math.floor(row / 3)],
    ];
    for (const [fp8Block, shape, at] of cases) {
      const scales = random.normals(shape.reduce((a, b) => a * b));
      const checkpoint = await open([
        { name: "w", dtype: "F8_E4M3", shape: [matrices, rows, columns], bytes: bits },
        { name: "w_scale_inv", dtype: "F32", shape, bytes: bytesOf(scales) },
      ]);
      const value = (row: number, column: number) =>
        Math.fround(FP8_E4M3_VALUES[bits[row * columns + column]] * scales[at(Math.floor(row / rows), row % rows, column)]);
      const all = Array.from({ length: matrices * rows }, (_, row) => Array.from({ length: columns }, (_, column) => value(row, column)));
      const select = (selection: MatrixSelection) => new MatrixSource(checkpoint, "w", [matrices, rows, columns], { ...selection, fp8Block });
      assertEquals(await read(select({}), "keep"), all);
      const part = select({ rows: [{ begin: 7, end: 13 }, { begin: 2, end: 5 }], columns: { begin: 3, end: 9 } });
      assertEquals(await read(part, "keep"), [7, 8, 9, 10, 11, 12, 2, 3, 4].map((row) => all[row].slice(3, 9)));
    }
    const wrong = await open([
      { name: "w", dtype: "F8_E4M3", shape: [matrices, rows, columns], bytes: bits },
      { name: "w_scale_inv", dtype: "F32", shape: [5], bytes: new Uint8Array(20) },
    ]);
    assertThrows(() => new MatrixSource(wrong, "w", [matrices, rows, columns], { fp8Block: "tensor" }), LatentmeshError, "w_scale_inv");
  });

  it("refuses wrong shapes, dtypes, missing scales and NaN, naming the tensor", async () => {
    const { tensors } = fp8Matrix(8, 8, [4, 4]);
    const checkpoint = await open([...tensors, { name: "i", dtype: "I32", shape: [1, 1], bytes: new Uint8Array(4) }]);
    const make = (name: string, shape: [number, number], fp8Block: readonly [number, number] | null) => () =>
      new MatrixSource(checkpoint, name, shape, { fp8Block });
    assertThrows(make("w", [8, 9], [4, 4]), LatentmeshError, "[8, 8] where config.json implies [8, 9]");
    assertThrows(make("missing", [8, 8], null), LatentmeshError, `"missing" is missing`);
    assertThrows(make("i", [1, 1], null), LatentmeshError, "dtype I32");
    assertThrows(make("w", [8, 8], null), LatentmeshError, "what shares a scale");
    assertThrows(make("w", [8, 8], [3, 4]), LatentmeshError, "w_scale_inv");
    tensors[0].bytes[5] = 0x7f;
    const poisoned = new MatrixSource(await open(tensors), "w", [8, 8], { fp8Block: [4, 4] });
    await assertRejects(() => read(poisoned, "keep"), LatentmeshError, "NaN");
    await assertRejects(() => readVector(checkpoint, "w", 64), LatentmeshError, "F8_E4M3");
  });
});

describe("small tensors", () => {
  it("are refused where they hold NaN, whatever else they hold", async () => {
    const vector = async (bits: number[]) => {
      const bytes = new Uint8Array(Uint16Array.from(bits).buffer);
      return await readVector(await open([{ name: "bias", dtype: "BF16", shape: [bits.length], bytes }]), "bias", bits.length);
    };
    assertEquals([...await vector([0x3f80, 0xff80, 0x8000])], [1, -Infinity, -0]);
    const error = await assertRejects(() => vector([0x3f80, 0x7fc0, 0x8000]), LatentmeshError, `"bias"`);
    assertEquals([error.code, error.message.endsWith("holds NaN")], ["invalid_checkpoint", true]);
  });
});

describe("Checkpoint", () => {
  it("follows an index over several files", async () => {
    const tensor = (name: string): TensorData => ({ name, dtype: "U8", shape: [1], bytes: Uint8Array.of(name.charCodeAt(0)) });
    const weight_map = { a: "model-1.safetensors", b: "model-2.safetensors" };
    const files = {
      "model.safetensors.index.json": JSON.stringify({ weight_map }),
      "model-1.safetensors": writeSafetensors([tensor("a")]),
      "model-2.safetensors": writeSafetensors([tensor("b")]),
    };
    const checkpoint = await Checkpoint.open(memoryFiles(files));
    assertEquals([...await checkpoint.read("b", 0, 1)], ["b".charCodeAt(0)]);
    const { "model-2.safetensors": _, ...incomplete } = files;
    await assertRejects(() => Checkpoint.open(memoryFiles(incomplete)), LatentmeshError, "model-2.safetensors, named by the index, is missing");
    const moved = { ...files, "model.safetensors.index.json": JSON.stringify({ weight_map: { ...weight_map, c: "model-1.safetensors" } }) };
    await assertRejects(() => Checkpoint.open(memoryFiles(moved)), LatentmeshError, `"c" in model-1.safetensors, which lacks it`);
    await assertRejects(() => Checkpoint.open(memoryFiles({})), LatentmeshError, "neither model.safetensors nor");
  });

  it("takes a single file that the index does not name, which is older then", async () => {
    const tensor = (value: number): TensorData => ({ name: "a", dtype: "U8", shape: [1], bytes: Uint8Array.of(value) });
    const index = (file: string) => JSON.stringify({ weight_map: { a: file } });
    const files = { "model.safetensors": writeSafetensors([tensor(1)]), "model-1.safetensors": writeSafetensors([tensor(2)]) };
    for (const [file, value] of [["model-1.safetensors", 1], ["gone.safetensors", 1], ["model.safetensors", 1]] as const) {
      const checkpoint = await Checkpoint.open(memoryFiles({ ...files, "model.safetensors.index.json": index(file) }));
      assertEquals([...await checkpoint.read("a", 0, 1)], [value]);
    }
    const { "model.safetensors": _, ...sharded } = files;
    const checkpoint = await Checkpoint.open(memoryFiles({ ...sharded, "model.safetensors.index.json": index("model-1.safetensors") }));
    assertEquals([...await checkpoint.read("a", 0, 1)], [2]);
  });

  it("follows no index out of its directory", async () => {
    for (const file of ["../secret.safetensors", "/etc/secret.safetensors", "a/b.safetensors", "..\\b.safetensors", "..", ""]) {
      const files = { "model.safetensors.index.json": JSON.stringify({ weight_map: { a: file } }) };
      await assertRejects(() => Checkpoint.open(memoryFiles(files)), LatentmeshError, "not the name of a safetensors file");
    }
  });
});
