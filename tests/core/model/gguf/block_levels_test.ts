/**
 * Blocks of GGUF types against a reference in float64 of the structures as they are published.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { Random, SEED } from "../../../../bench/support/random.ts";
import { allocateLevels, BLOCK_FORMS, readLevels, widenBlocks } from "../../../../core/model/gguf/block_levels.ts";
import { GGUF_TENSOR_TYPES, type GgufBlockType, ggufTensorType, typeName } from "../../../../core/model/gguf/tensor_types.ts";
import { packBlocks } from "../../../../bench/gguf/pack_blocks.ts";
import { referenceValues } from "../../../../bench/gguf/other_blocks.ts";

const TYPES = Object.keys(BLOCK_FORMS) as GgufBlockType[];

/** Blocks of any bytes, but for scales, which are numbers. */
function blocksOf(type: GgufBlockType, bytes: readonly number[]): Uint8Array<ArrayBuffer> {
  const block = Uint8Array.from(bytes);
  const view = new DataView(block.buffer);
  const at = { Q2_K: [80, 82], Q3_K: [108], Q6_K: [208], Q4_1: [0, 2], Q5_1: [0, 2], Q4_K: [0, 2], Q5_K: [0, 2] }[type as string] ?? [0];
  for (const place of at) if (!Number.isFinite(view.getFloat16(place, true))) view.setFloat16(place, bytes[place], true);
  return block;
}

describe("blocks of GGUF", () => {
  for (const type of TYPES) {
    const { elements, bytes } = GGUF_TENSOR_TYPES[type];
    it(`${type} are what their structure says, whichever bits they hold`, () => {
      const block = fc.array(fc.nat(255), { minLength: bytes, maxLength: bytes });
      fc.assert(
        fc.property(block, (given) => {
          const packed = blocksOf(type, given);
          const expected = referenceValues(type, packed);
          const actual = new Float32Array(elements);
          widenBlocks(type, packed, actual);
          const most = Math.max(...expected.map(Math.abs));
          actual.forEach((value, i) => assert(Math.abs(value - expected[i]) <= most * 2 ** -23, `value ${i}: ${value}, not ${expected[i]}`));
        }),
        { seed: SEED, numRuns: 100 },
      );
    });

    it(`${type} have the levels that are said of them`, () => {
      const { group, offsets, fourBits } = BLOCK_FORMS[type];
      const packed = packBlocks(type, new Random(SEED).normals(4 * elements));
      const read = allocateLevels(type, 4 * elements);
      readLevels(type, packed, read);
      assertEquals(read.scales.length, 4 * elements / group);
      if (!offsets) assert(read.offsets.every((offset) => offset === 0));
      const [least, most] = fourBits ? offsets ? [0, 15] : [-8, 7] : [-128, 127];
      assert(read.levels.every((level) => level >= least && level <= most));
    });
  }

  it("are written near what they stand for, so that models of them are models", () => {
    const values = new Random(SEED).normals(1024);
    for (const type of TYPES) {
      const back = referenceValues(type, packBlocks(type, values));
      const error = Math.sqrt(back.reduce((sum, value, i) => sum + (value - values[i]) ** 2, 0) / 1024);
      assert(error < { Q2_K: 0.5, Q3_K: 0.35 }[type as string]! || error < 0.2, `${type}: ${error}`);
    }
  });

  it("have the numbers of ggml.h", () => {
    assertEquals([0, 1, 2, 8, 12, 14, 30].map(ggufTensorType), ["F32", "F16", "Q4_0", "Q8_0", "Q4_K", "Q6_K", "BF16"]);
    assertEquals([20, 99].map(typeName), ["IQ4_NL", "number 99"]);
    assertEquals(ggufTensorType(20), null);
  });
});
