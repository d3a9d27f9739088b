/**
 * Bits that kernels of `wasm` give: products of every format and some sizes, and logits of the embedded model. As a process of its own, with V8's flags, it prints them.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { matrixLayout, type WeightFormat } from "../../../core/model/packing.ts";
import { WasmDevice } from "../../../kernels/device/wasm/wasm_device.ts";
import { matvec } from "../../../kernels/linear/matvec.ts";
import { OurModel, promptOf } from "../../../bench/cpu/our_model.ts";
import { Random, SEED } from "../../../bench/support/random.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { makeTask, runTask } from "../linear_task.ts";

const FORMATS: readonly WeightFormat[] = ["f32", "bf16", "f16", "fp8", "q8", "q4", "int4"];

/** A hash of all of them. @param wide as V8 was started */
export async function bitsOf(wide: boolean): Promise<string> {
  const hash = createHash("sha256");
  const device = await WasmDevice.open({ threads: 2, wide });
  for (const [i, format] of FORMATS.entries()) {
    for (const [rows, columns, outputs] of [[1, 320, 40], [4, 61, 9], [7, 100, 10], [8, 320, 70], [16, 203, 33], [37, 64, 130]]) {
      const task = makeTask(new Random(SEED + i), { layout: matrixLayout(format, columns, 64), outputs, rows, select: { kind: "all" } });
      hash.update(new Uint8Array((await runTask(device, matvec, { itemsAtOnce: 1 }, task)).buffer));
    }
  }
  await device.close();
  using files = new DirectoryFiles(new URL("../../../models/tiny-mla", import.meta.url).pathname);
  const model = await OurModel.load(files, { weights: "keep", threads: 2, context: 160, wide });
  const { logits } = await model.score(promptOf(100), 6);
  await model.close();
  return hash.update(new Uint8Array(logits.buffer)).digest("hex");
}

if (import.meta.main) console.log(await bitsOf(true));
