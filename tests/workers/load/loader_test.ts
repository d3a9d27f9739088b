import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { parseModelConfig } from "../../../core/model/config.ts";
import { MatrixSource, readMatrix, type WeightPolicy } from "../../../core/model/matrix_source.ts";
import { readVector } from "../../../core/model/stored_vector.ts";
import { type MatrixViews, unpackRow } from "../../../core/model/packing.ts";
import { chooseBasis } from "../../../core/tpla/basis.ts";
import { columnIndices, partition } from "../../../core/tpla/partition.ts";
import { CpuDevice } from "../../../kernels/device/cpu_device.ts";
import type { Device, DeviceBuffer } from "../../../kernels/device/device.ts";
import { LoadClock } from "../../../workers/load/load_clock.ts";
import type { LoadProgress } from "../../../core/wire/load_times.ts";
import { loadBeside, loadWeights, planWeights } from "../../../workers/load/loader.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import type { DeviceMatrix } from "../../../workers/forward/weights.ts";
import { relativeError } from "../../support/compare.ts";
import { describeOnDevices, openTestDevice } from "../../support/devices.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";

async function openModel(name: Parameters<typeof fixtureDirectory>[0]) {
  const files = new DirectoryFiles(fixtureDirectory(name));
  const spec = parseModelConfig((await files.text("config.json"))!, name);
  return { files, spec, checkpoint: await Checkpoint.open(files) };
}

async function bytesOf(device: Device, buffer: DeviceBuffer): Promise<Uint8Array<ArrayBuffer>> {
  const readback = await device.createReadback("contents", buffer.bytes);
  device.read(readback, buffer, 0, buffer.bytes);
  device.submit();
  const bytes = (await readback.take()).slice();
  readback.destroy();
  return bytes;
}

/** All values of a matrix in one part. */
async function valuesOf(device: Device, { layout, outputs, matrices, parts: [part] }: DeviceMatrix): Promise<number[]> {
  const views = (bytes: Uint8Array<ArrayBuffer>): MatrixViews => ({
    f32: new Float32Array(bytes.buffer),
    u16: new Uint16Array(bytes.buffer),
    u8: bytes,
  });
  const [data, scales] = [views(await bytesOf(device, part.weights)), views(await bytesOf(device, part.scales))];
  const row = new Float32Array(layout.columns);
  return Array.from({ length: outputs * matrices }, (_, i) => {
    unpackRow(layout, data, scales, i, row);
    return [...row];
  }).flat();
}

describe("loading", () => {
  it("takes the vocabulary projection that a file has, though config.json says that it is the embedding table", async () => {
    const { files, spec, checkpoint } = await openModel("glm4-moe-lite-tiny");
    const device = new CpuDevice();
    for (const tieEmbeddings of [true, false]) {
      for (const shape of partition(spec, { ranks: 2, latentGroups: 1, halo: 0 })) {
        const { head } = await loadWeights(device, checkpoint, { ...spec, tieEmbeddings }, { weights: "keep", shard: { shape, bases: null } });
        const stored = new MatrixSource(checkpoint, "lm_head.weight", [spec.vocabSize, spec.hiddenSize], {
          rows: [shape.vocabulary],
          fp8Block: null,
        });
        assertEquals(relativeError(await valuesOf(device, head), await readMatrix(stored)), 0);
      }
    }
    files.close();
    await device.close();
  });

  for (const policy of ["keep", "q4"] as const) {
    it(`tells how far it is of what a rank reads, ${policy}, and ends at all of it`, async () => {
      const { files, spec, checkpoint } = await openModel("deepseek-v2-lite-tiny");
      const bases = Array.from({ length: spec.layers }, () => chooseBasis("hadamard", spec.latentWidth, null));
      const whole = partition(spec, { ranks: 1, latentGroups: 1, halo: 0 })[0];
      const shards = [
        undefined,
        { shape: whole, bases },
        ...partition(spec, { ranks: 2, latentGroups: 2, halo: 8 }).map((shape) => ({ shape, bases })),
      ];
      for (const shard of shards) {
        const told: LoadProgress[] = [];
        await loadWeights(new CpuDevice(), checkpoint, spec, { weights: policy, shard, onProgress: (progress) => told.push(progress) });
        assertEquals(told.at(-1)!.loadedBytes, told.at(-1)!.totalBytes);
        told.reduce((before, now) => {
          assert(now.loadedBytes >= before.loadedBytes && now.totalBytes === before.totalBytes);
          return now;
        });
      }
      files.close();
    });
  }
});

describe("loading beside something else", () => {
  it("is given up when that fails, which is told", async () => {
    const { files, spec, checkpoint } = await openModel("deepseek-v2-lite-tiny");
    const planned = planWeights(new CpuDevice(), checkpoint, spec, { weights: "keep" });
    let told = 0;
    const options = { clock: new LoadClock(), sizes: { blockBytes: 1024, blocks: 1 }, onProgress: () => told++ };
    await assertRejects(() => loadBeside(planned, () => Promise.reject(new Error("no room for a cache")), options), Error, "no room for a cache");
    assert(told <= 1, `${told} blocks were read`);
    assertEquals(await loadBeside(planned, () => Promise.resolve("a model"), options), "a model");
    assert(told > 10);
    files.close();
  });
});

describeOnDevices("projections under another basis", (kind) => {
  const cases: [WeightPolicy, number, number][] = [["keep", 8, 1e-5], ["keep", 7, 1e-5], ["q8", 8, 0.01]];
  for (const [policy, halo, tolerance] of cases) {
    it(`are what they are by definition, ${policy}, halo ${halo}`, async () => {
      const { files, spec, checkpoint } = await openModel("deepseek-v3-fp8-tiny");
      const device = await openTestDevice(kind);
      const bases = Array.from({ length: spec.layers }, () => chooseBasis("hadamard", spec.latentWidth, null));
      const shape = partition(spec, { ranks: 2, latentGroups: 2, halo })[1];
      const { layers } = await loadWeights(device, checkpoint, spec, { weights: policy, shard: { shape, bases, keyScale: 0.5 } });
      const allocated = device.counters.allocatedBytes;
      const prefix = "model.layers.1.self_attn";
      const gain = await readVector(checkpoint, `${prefix}.kv_a_layernorm.weight`, spec.latentWidth);
      const perHead = spec.nopeWidth + spec.valueWidth;
      const up = await readMatrix(
        new MatrixSource(checkpoint, `${prefix}.kv_b_proj.weight`, [spec.heads * perHead, spec.latentWidth], { fp8Block: spec.fp8Block }),
      );
      const expected = (first: number, width: number, columns: readonly number[], scale: number) =>
        Array.from({ length: spec.heads * width }, (_, row) => {
          const from = (Math.floor(row / width) * perHead + first + row % width) * spec.latentWidth;
          return columns.map((column) =>
            scale * gain.reduce((sum, factor, j) => sum + up[from + j] * factor * bases[1].inverse[j * spec.latentWidth + column], 0)
          );
        }).flat();
      const { keyUp, valueUp } = layers[1].attention;
      const keys = expected(0, spec.nopeWidth, columnIndices(shape.latents[1].keyColumns), 0.5);
      const values = expected(spec.nopeWidth, spec.valueWidth, columnIndices([shape.latents[1].valueColumns]), 1);
      assert(relativeError(await valuesOf(device, keyUp), keys) < tolerance);
      assert(relativeError(await valuesOf(device, valueUp), values) < tolerance);
      assertEquals(device.counters.allocatedBytes, allocated);
      await device.close();
      files.close();
    });
  }
});
