/**
 * Random weights that devices make: the bits of the reference, of any part of a tensor.
 */
import { it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import type { WeightFormat } from "../../core/model/packing.ts";
import { fillWeights } from "../../kernels/fill_weights/fill_weights.ts";
import { fillWords } from "../../kernels/fill_weights/fill_words.ts";
import { describeOnDevices, openTestDevice } from "../support/devices.ts";
import { runKernel } from "../support/kernel.ts";

describeOnDevices("fill_weights", (kind) => {
  it("makes the bits that the reference makes, in every format, and writes nowhere else", async () => {
    const [device, cpu] = [await openTestDevice(kind), await openTestDevice("cpu")];
    // 3 rows of 20 words, the last of them not whole, after 7 words that stay as they were, and 20,000 words in a row.
    const some = { first_word: 7, end_word: 67, row_words: 20, columns: 37, first_row: 5, first_column: 3, key: 0xfedcba98 };
    const many = { ...some, first_word: 0, end_word: 20_000, row_words: 20_000, columns: 0xffffffff };
    for (const format of ["f32", "f16", "bf16", "fp8", "q8", "q4", "int4", "int8"] as const satisfies WeightFormat[]) {
      for (const params of [some, many]) {
        const inputs = { words: { poison: params.end_word + 5 } };
        const fill = async (on: typeof device) => (await runKernel(on, fillWeights, { format }, inputs, params)).words.u32;
        assertEquals(await fill(device), await fill(cpu), format);
      }
    }
    const words = async (on: typeof device) =>
      (await runKernel(on, fillWords, null, { words: { poison: 17_000 } }, { count: 16_999, value: 3 })).words.u32;
    assertEquals(await words(device), await words(cpu));
    await device.close();
    await cpu.close();
  });
});
