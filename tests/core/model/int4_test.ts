/**
 * Matrices of four bits of any size and form, whole and in part, against what they stand for.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { LatentmeshError } from "../../../core/errors.ts";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import type { Int4Spec } from "../../../core/model/int4/int4_spec.ts";
import { type MatrixSelection, MatrixSource, readBlock, readMatrix, type WeightPolicy } from "../../../core/model/matrix_source.ts";
import { unpackRow, viewsOf } from "../../../core/model/packing.ts";
import { type TensorData, writeSafetensors } from "../../../core/model/safetensors_writer.ts";
import { Random, SEED } from "../../../bench/support/random.ts";
import { relativeError } from "../../support/compare.ts";
import { awq, compressedTensors, type FourBits, fromFourBits, gptq, toFourBits } from "../../support/int4_writers.ts";
import { memoryFiles } from "../../support/safetensors.ts";

const open = (tensors: readonly TensorData[]) => Checkpoint.open(memoryFiles({ "model.safetensors": writeSafetensors(tensors) }));

/** Every form, and how it is written; `eights`: of which it needs sizes. */
const FORMS = {
  "compressed-tensors": {
    symmetric: true,
    eights: false,
    write: (bits) => compressedTensors("w", bits, { symmetric: true }),
    spec: compressed("none"),
  },
  "compressed-tensors, 32 columns at a time": {
    symmetric: true,
    eights: false,
    write: (bits) => compressedTensors("w", bits, { symmetric: true, padded: true }),
    spec: compressed("some"),
  },
  "compressed-tensors with zero points": {
    symmetric: false,
    eights: false,
    write: (bits) => compressedTensors("w", bits, { symmetric: false }),
    spec: compressed("all"),
  },
  "AWQ": { symmetric: false, eights: true, write: (bits) => awq("w", bits), spec: (group) => ({ kind: "awq", group }) },
  "GPTQ": {
    symmetric: true,
    eights: true,
    write: (bits) => gptq("w", bits, { version: 1 }),
    spec: (group) => ({ kind: "gptq", group, zeroOffset: 1 }),
  },
  "GPTQ with zero points": {
    symmetric: false,
    eights: true,
    write: (bits) => gptq("w", bits, { version: 1 }),
    spec: (group) => ({ kind: "gptq", group, zeroOffset: 1 }),
  },
  "GPTQ v2": {
    symmetric: false,
    eights: true,
    write: (bits) => gptq("w", bits, { version: 2 }),
    spec: (group) => ({ kind: "gptq", group, zeroOffset: 0 }),
  },
} as const satisfies Record<string, {
  readonly symmetric: boolean;
  readonly eights: boolean;
  write(bits: FourBits): TensorData[];
  spec(group: number): Int4Spec;
}>;

function compressed(zeros: "all" | "none" | "some"): (group: number) => Int4Spec {
  return (group) => ({ kind: "compressed-tensors", groups: [7, group, null], zeros });
}

/** All selected rows, widened. */
async function read(source: MatrixSource, policy: WeightPolicy): Promise<Float32Array> {
  const layout = source.layout(policy);
  const values = new Float32Array(source.rows * source.columns);
  let at = 0;
  for (const block of source.blocks(policy)) {
    const { data, scales } = await readBlock(block, layout);
    for (let row = 0; row < block.rows; row++, at += source.columns) {
      unpackRow(layout, viewsOf(data), viewsOf(scales), row, values.subarray(at, at + source.columns));
    }
  }
  assertEquals(at, values.length);
  return values;
}

/** A range of what there is, not empty. */
const part = (length: number) =>
  fc.tuple(fc.nat({ max: length - 1 }), fc.nat({ max: length - 1 })).map(([a, b]) => ({ begin: Math.min(a, b), end: Math.max(a, b) + 1 }));

describe("matrices of four bits", () => {
  for (const [name, { symmetric, eights, write, spec }] of Object.entries(FORMS)) {
    it(`are what they stand for to the last bit, whole and in part: ${name}`, async () => {
      const sizes = fc.record({
        rows: fc.integer({ min: 1, max: 40 }),
        columns: fc.integer({ min: 1, max: 300 }),
        group: fc.constantFrom(16, 20, 32, 64, 128),
        scaleType: fc.constantFrom("F16", "BF16", ...(symmetric && !eights ? ["F32"] as const : [])),
      });
      const some = sizes.chain((all) => {
        const [rows, columns] = eights ? [all.rows * 8, Math.ceil(all.columns / 8) * 8] : [all.rows, all.columns];
        return fc.record({
          all: fc.constant({ ...all, rows, columns }),
          rows: fc.array(part(rows), { minLength: 1, maxLength: 3 }),
          columns: part(columns),
        });
      });
      await fc.assert(
        fc.asyncProperty(some, fc.nat(), async ({ all: { rows, columns, group, scaleType }, ...selection }, seed) => {
          const bits = toFourBits(new Random(seed).normals(rows * columns), [rows, columns], { group, scaleType, symmetric });
          const checkpoint = await open(write(bits));
          const values = fromFourBits(bits);
          const select = (selection: MatrixSelection) =>
            new MatrixSource(checkpoint, "w.weight", [rows, columns], { ...selection, fp8Block: null, int4: spec(group) });
          const whole = select({});
          assertEquals(whole.layout("keep").format, "int4");
          assertEquals(await read(whole, "keep"), values);
          assertEquals(await read(whole, "q8"), values, "they are kept");
          const expected = (ranges: MatrixSelection["rows"], { begin, end }: { begin: number; end: number }) =>
            ranges!.flatMap((range) =>
              Array.from(
                { length: range.end - range.begin },
                (_, i) => [...values.subarray((range.begin + i) * columns + begin, (range.begin + i) * columns + end)],
              )
            )
              .flat();
          const cut = select(selection);
          assertEquals([...await read(cut, "keep")], expected(selection.rows, selection.columns));
          assertEquals([...await readMatrix(cut)], expected(selection.rows, selection.columns));
          const { format } = cut.layout("keep");
          const inOne = Math.floor(selection.columns.begin / group) === Math.floor((selection.columns.end - 1) / group);
          assertEquals(format, selection.columns.begin % 4 === 0 || inOne ? "int4" : "f32");
          if (format === "f32") {
            assert(relativeError(await read(cut, "q8"), await read(cut, "keep")) < 0.02, "what must be widened is quantised if asked for");
          }
        }),
        { seed: SEED, numRuns: 60 },
      );
    });
  }

  it("are what they stand for where columns share scales in the order of their activations, and then are widened", async () => {
    const random = new Random();
    for (const [rows, columns, group, scaleType] of [[24, 96, 32, "F16"], [8, 40, 16, "BF16"], [16, 64, 64, "F16"]] as const) {
      const bits = toFourBits(random.normals(rows * columns), [rows, columns], { group, scaleType, symmetric: false });
      const groups = Math.ceil(columns / group);
      const order = Array.from({ length: columns }, (_, column) => Math.floor(column / group));
      for (let i = columns - 1; i > 0; i--) [order[i], order[i % 7]] = [order[i % 7], order[i]];
      const value = (row: number, column: number) => {
        const at = row * groups + order[column];
        return Math.fround((bits.levels[row * columns + column] - bits.zeros[at]) * bits.scales[at]);
      };
      const list: TensorData = { name: "w.weight_g_idx", dtype: "I32", shape: [columns], bytes: new Uint8Array(Int32Array.from(order).buffer) };
      const forms: [tensors: TensorData[], spec: Int4Spec][] = [
        [gptq("w", bits, { version: 1, order }), { kind: "gptq", group, zeroOffset: 1, reordered: true }],
        [gptq("w", bits, { version: 2, order }), { kind: "gptq", group, zeroOffset: 0, reordered: true }],
        [[...compressedTensors("w", bits, { symmetric: false }), list], {
          kind: "compressed-tensors",
          groups: [group],
          zeros: "all",
          reordered: true,
        }],
      ];
      for (const [tensors, int4] of forms) {
        const checkpoint = await open(tensors);
        const selection = { rows: [{ begin: 5, end: 8 }, { begin: 0, end: 3 }], columns: { begin: 3, end: columns - 2 } };
        const [whole, cut] = [{}, selection].map((part) =>
          new MatrixSource(checkpoint, "w.weight", [rows, columns], { ...part, fp8Block: null, int4 })
        );
        assertEquals([whole.layout("keep").format, whole.layout("q8").format], ["f32", "q8"]);
        assertEquals([...await read(whole, "keep")], Array.from({ length: rows * columns }, (_, i) => value(Math.floor(i / columns), i % columns)));
        const wanted = [5, 6, 7, 0, 1, 2].flatMap((row) => Array.from({ length: columns - 5 }, (_, i) => value(row, i + 3)));
        assertEquals([...await read(cut, "keep")], wanted);
        assert(relativeError(await read(cut, "q4"), wanted) < 0.2);
        assert(whole.storedBytes > rows * columns / 2);
      }
      const wild = gptq("w", bits, { version: 1, order: [groups, ...order.slice(1)] });
      const source = new MatrixSource(await open(wild), "w.weight", [rows, columns], {
        fp8Block: null,
        int4: { kind: "gptq", group, zeroOffset: 1, reordered: true },
      });
      await assertRejects(() => readMatrix(source), LatentmeshError, `names a group that is none of ${groups}`);
    }
  });

  it("take as many bytes as they are stored in", async () => {
    const bits = (symmetric: boolean) => toFourBits(new Random().normals(64 * 256), [64, 256], { group: 32, scaleType: "BF16", symmetric });
    for (const [symmetric, scaleBytes] of [[true, 2], [false, 4]] as const) {
      const source = new MatrixSource(await open(compressedTensors("w", bits(symmetric), { symmetric })), "w.weight", [64, 256], {
        fp8Block: null,
        int4: compressed("some")(32),
      });
      const { rowBytes, scaleRowBytes, group } = source.layout("keep");
      assertEquals([rowBytes, scaleRowBytes, group], [128, 8 * scaleBytes, 32]);
    }
  });

  it("are in groups of the size that divides a row, where groups of another would be as many, and refused where none does", async () => {
    const [rows, columns] = [8, 96];
    const sourceOf = async (columns: number, group: number, groups: readonly number[]) => {
      const bits = toFourBits(new Random().normals(rows * columns), [rows, columns], { group, scaleType: "F16", symmetric: true });
      const int4 = { kind: "compressed-tensors", groups, zeros: "none" } as const;
      const checkpoint = await open(compressedTensors("w", bits, { symmetric: true }));
      return { source: () => new MatrixSource(checkpoint, "w.weight", [rows, columns], { fp8Block: null, int4 }), values: fromFourBits(bits) };
    };
    const { source, values } = await sourceOf(columns, 48, [64, 48]);
    assertEquals(await readMatrix(source()), values);
    const either = await sourceOf(100, 96, [64, 96]);
    const { code } = assertThrows(either.source, LatentmeshError, "could be for groups of 64 or 96 in rows of 100");
    assertEquals(code, "invalid_checkpoint");
  });

  it("are nothing to whoever is stored otherwise", async () => {
    const weights = new Float32Array([1, 2, 3, 4]);
    const checkpoint = await open([{ name: "w.weight", dtype: "F32", shape: [2, 2], bytes: new Uint8Array(weights.buffer) }]);
    assertEquals(await readMatrix(new MatrixSource(checkpoint, "w.weight", [2, 2], { fp8Block: null, int4: { kind: "awq", group: 2 } })), weights);
    const missing = () => new MatrixSource(checkpoint, "v.weight", [2, 2], { fp8Block: null, int4: { kind: "awq", group: 2 } });
    assertThrows(missing, LatentmeshError, '"v.weight" is missing');
  });

  it("are refused, by the name of the tensor, where they are not what is said of them", async () => {
    const [rows, columns, group] = [16, 256, 128];
    const bits = toFourBits(new Random().normals(rows * columns), [rows, columns], { group, scaleType: "F16", symmetric: false });
    const zeroOffset = 1;
    const source = async (tensors: readonly TensorData[], int4: Int4Spec) =>
      new MatrixSource(await open(tensors), "w.weight", [rows, columns], { fp8Block: null, int4 });
    const wide = (tensors: readonly TensorData[], name: string) =>
      tensors.map((one) => one.name === name ? { ...one, dtype: "F32" as const, bytes: new Uint8Array(one.bytes.length * 2) } : one);
    const reordered = Array.from({ length: columns }, (_, input) => input % 2);
    const packed = compressedTensors("w", bits, { symmetric: false });
    const refused: [says: string, tensors: readonly TensorData[], int4: Int4Spec][] = [
      ["w.qzeros", awq("w", bits), { kind: "awq", group: 64 }],
      ["w.qweight", awq("w", bits), { kind: "gptq", group, zeroOffset }],
      ["w.qweight", gptq("w", bits, { version: 1 }), { kind: "awq", group }],
      ["w.scales", wide(awq("w", bits), "w.scales"), { kind: "awq", group }],
      ['"w.qzeros" is missing', awq("w", bits).filter(({ name }) => name !== "w.qzeros"), { kind: "awq", group }],
      ["groups of 64 or 32", packed, { kind: "compressed-tensors", groups: [64, 32], zeros: "all" }],
      ["weights are symmetric", packed, { kind: "compressed-tensors", groups: [group], zeros: "none" }],
      ["w.weight_zero_point", packed.slice(0, 3), { kind: "compressed-tensors", groups: [group], zeros: "all" }],
      ["beside zero points", wide(packed, "w.weight_scale"), { kind: "compressed-tensors", groups: [group], zeros: "all" }],
      [
        "quantization_config does not",
        [...packed, { name: "w.weight_g_idx", dtype: "I32", shape: [columns], bytes: new Uint8Array(4 * columns) }],
        { kind: "compressed-tensors", groups: [group], zeros: "all" },
      ],
    ];
    for (const [says, tensors, int4] of refused) {
      const error = await assertRejects(() => source(tensors, int4), LatentmeshError, says);
      assertEquals((error as LatentmeshError).code, "invalid_checkpoint");
    }
    const ordered = await source(gptq("w", bits, { version: 1, order: reordered }), { kind: "gptq", group, zeroOffset });
    await assertRejects(() => readMatrix(ordered), LatentmeshError, "desc_act");
  });
});
