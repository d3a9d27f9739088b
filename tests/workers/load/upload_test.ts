import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { LatentmeshError } from "../../../core/errors.ts";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { MatrixSource, readBlock, type WeightPolicy } from "../../../core/model/matrix_source.ts";
import type { ByteSource } from "../../../core/model/safetensors.ts";
import { type TensorData, writeSafetensors } from "../../../core/model/safetensors_writer.ts";
import { toHalfBits } from "../../../core/numeric.ts";
import { CpuDevice } from "../../../kernels/device/cpu_device.ts";
import type { HostBuffer } from "../../../kernels/authoring/contract.ts";
import type { DeviceBuffer } from "../../../kernels/device/device.ts";
import { planFills } from "../../../workers/load/fills.ts";
import { LoadClock } from "../../../workers/load/load_clock.ts";
import { upload, type UploadSizes } from "../../../workers/load/upload.ts";
import { UploadPlan } from "../../../workers/load/upload_plan.ts";
import type { DeviceMatrix } from "../../../workers/forward/weights.ts";
import { Random, SEED } from "../../../bench/support/random.ts";
import { memoryFiles, memorySource } from "../../support/safetensors.ts";

const bytesOf = (buffer: DeviceBuffer) => [...(buffer as DeviceBuffer & HostBuffer).u8.subarray(0, buffer.bytes)];

/** Matrices of f16 and a vector, as one file. */
function checkpointOf(matrices: readonly { readonly rows: number; readonly columns: number }[], vector: number): Promise<Checkpoint> {
  const random = new Random();
  const half = (count: number) => new Uint8Array(toHalfBits(random.normals(count)).buffer);
  const tensors: TensorData[] = matrices.map(({ rows, columns }, i) => ({
    name: `m${i}`,
    dtype: "F16",
    shape: [rows, columns],
    bytes: half(rows * columns),
  }));
  tensors.push({ name: "v", dtype: "F16", shape: [vector], bytes: half(vector) });
  return Checkpoint.open(memoryFiles({ "model.safetensors": writeSafetensors(tensors) }));
}

async function uploaded(plan: UploadPlan, sizes: UploadSizes): Promise<number[]> {
  const progress: number[] = [];
  await upload(plan, { clock: new LoadClock(), sizes, onStored: (bytes) => progress.push(bytes) });
  return progress;
}

/** Bytes of all parts, data then scales. */
const contents = ({ parts }: DeviceMatrix) => parts.map(({ weights, scales }) => [bytesOf(weights), bytesOf(scales)]);

describe("an upload", () => {
  it("gives the same bytes whatever blocks it goes in and however matrices are split over bindings", async () => {
    const matrix = fc.record({ rows: fc.integer({ min: 1, max: 9 }), columns: fc.constantFrom(8, 16, 21, 64) });
    const cases = fc.record({
      matrices: fc.array(matrix, { minLength: 1, maxLength: 4 }),
      begin: fc.nat(3),
      policy: fc.constantFrom<WeightPolicy>("keep", "q8", "q4"),
      blockBytes: fc.integer({ min: 1, max: 12 }).map((n) => n * 16),
      blocks: fc.integer({ min: 1, max: 3 }),
      bindingRows: fc.integer({ min: 1, max: 4 }),
    });
    await fc.assert(
      fc.asyncProperty(cases, async ({ matrices, begin, policy, blockBytes, blocks, bindingRows }) => {
        const checkpoint = await checkpointOf(matrices, 5);
        const sources = matrices.map(({ rows, columns }, i) =>
          new MatrixSource(checkpoint, `m${i}`, [rows, columns], { rows: [{ begin: Math.min(begin, rows - 1), end: rows }], fp8Block: null })
        );
        const device = new CpuDevice({ maxBindingBytes: bindingRows * 128 });
        const plan = new UploadPlan(device, checkpoint, policy);
        const stacked = sources.map((source) => plan.stack([[source]]));
        const vector = plan.vector("v", 5);
        const progress = await uploaded(plan, { blockBytes, blocks });
        for (const [i, { layout, parts }] of stacked.entries()) {
          const expected: number[][] = [[], []];
          for (const block of sources[i].blocks(policy)) {
            const { data, scales } = await readBlock(block, layout);
            expected[0].push(...data);
            expected[1].push(...scales);
          }
          assertEquals(parts.flatMap(({ weights }) => bytesOf(weights)), expected[0]);
          if (layout.scaleRowBytes > 0) assertEquals(parts.flatMap(({ scales }) => bytesOf(scales)), expected[1]);
        }
        const half = new Float16Array((await checkpoint.read("v", 0, 10)).buffer);
        assertEquals([...new Float32Array(Uint8Array.from(bytesOf(vector)).buffer)], [...half]);
        assertEquals(progress.at(-1), plan.storedBytes);
        assertEquals(progress, [...progress].sort((a, b) => a - b));
      }),
      { seed: SEED, numRuns: 60 },
    );
  });

  it("reads what is side by side in a file at once, whatever it belongs to, and in order", async () => {
    const checkpoint = await checkpointOf([{ rows: 4, columns: 8 }, { rows: 4, columns: 8 }, { rows: 4, columns: 8 }], 5);
    const plan = new UploadPlan(new CpuDevice(), checkpoint, "keep");
    const source = (name: string) => new MatrixSource(checkpoint, name, [4, 8], { fp8Block: null });
    plan.stack([[source("m2")]]);
    plan.stack([[source("m0")], [source("m1")]]);
    const readsOf = (blockBytes: number) => planFills(plan, blockBytes).map(({ reads }) => reads.map(({ range }) => range.bytes));
    assertEquals(readsOf(1024), [[192]]);
    assertEquals(readsOf(128), [[128], [64]]);
    const offsets = planFills(plan, 16).flatMap(({ reads }) => reads.map(({ range }) => range.offset));
    assertEquals(offsets, [...offsets].sort((a, b) => a - b));
  });

  it("reads from several places at a time, and holds no more than its blocks", async () => {
    const tensors: TensorData[] = Array.from({ length: 8 }, (_, i) => ({
      name: `m${i}`,
      dtype: "F16",
      shape: [4, 8],
      bytes: new Uint8Array(64).fill(i),
    }));
    const file = writeSafetensors(tensors);
    let [open, most] = [0, 0];
    const inner = memorySource("slow", file);
    const slow: ByteSource = {
      ...inner,
      async read(offset, length, into) {
        most = Math.max(most, ++open);
        // Whoever reads side by side has begun by then.
        for (let turn = 0; turn < 10; turn++) await Promise.resolve();
        open--;
        return await inner.read(offset, length, into);
      },
    };
    const checkpoint = await Checkpoint.open({ name: "slow", open: () => Promise.resolve(slow), text: () => Promise.resolve(null) });
    const device = new CpuDevice();
    const plan = new UploadPlan(device, checkpoint, "keep");
    for (let i = 0; i < 8; i++) plan.stack([[new MatrixSource(checkpoint, `m${i}`, [4, 8], { fp8Block: null })]]);
    most = 0;
    await uploaded(plan, { blockBytes: 64, blocks: 3 });
    assertEquals(most, 3);
  });

  it("has fewer blocks where what is converted at once needs larger ones", async () => {
    const file = writeSafetensors(["a", "b", "c", "d"].map((name) => ({ name, dtype: "F16", shape: [8, 60], bytes: new Uint8Array(960) })));
    const checkpoint = await Checkpoint.open(memoryFiles({ "model.safetensors": file }));
    for (const [blocks, expected] of [[1, 1], [6, 2], [64, 4]] as const) {
      const device = new CpuDevice();
      const create = device.createStaging.bind(device);
      const made: [bytes: number, blocks: number][] = [];
      device.createStaging = (bytes, blocks) => {
        made.push([bytes, blocks]);
        return create(bytes, blocks);
      };
      const plan = new UploadPlan(device, checkpoint, "q8");
      for (const name of checkpoint.names()) plan.stack([[new MatrixSource(checkpoint, name, [8, 60], { fp8Block: null })]]);
      await uploaded(plan, { blockBytes: 64, blocks });
      // Rows of 64 bytes, and of each a scale in a word of its own.
      assertEquals(made, [[8 * 64 + 8 * 4, expected]]);
    }
  });

  it("says what was wrong when a file cannot be read, and nothing is under way any more then", async () => {
    const file = writeSafetensors([{ name: "m", dtype: "F16", shape: [64, 8], bytes: new Uint8Array(1024) }]);
    let [open, failing] = [0, false];
    const inner = memorySource("short", file);
    const short: ByteSource = {
      ...inner,
      async read(offset, length, into) {
        open++;
        await Promise.resolve();
        open--;
        if (failing && offset > file.byteLength - 512) throw new LatentmeshError("invalid_checkpoint", "it ended early");
        return await inner.read(offset, length, into);
      },
    };
    const checkpoint = await Checkpoint.open({ name: "short", open: () => Promise.resolve(short), text: () => Promise.resolve(null) });
    failing = true;
    const plan = new UploadPlan(new CpuDevice(), checkpoint, "keep");
    plan.stack([[new MatrixSource(checkpoint, "m", [64, 8], { fp8Block: null })]]);
    await assertRejects(() => uploaded(plan, { blockBytes: 64, blocks: 2 }), LatentmeshError, "it ended early");
    assertEquals(open, 0);
  });

  it("stacks matrices over bindings as one matrix after the other", async () => {
    const checkpoint = await checkpointOf([{ rows: 3, columns: 16 }, { rows: 3, columns: 16 }, { rows: 3, columns: 16 }], 5);
    const source = (i: number) => new MatrixSource(checkpoint, `m${i}`, [3, 16], { fp8Block: null });
    const whole = new UploadPlan(new CpuDevice(), checkpoint, "q8");
    const split = new UploadPlan(new CpuDevice({ maxBindingBytes: 2 * 48 }), checkpoint, "q8");
    const stacks = [whole, split].map((plan) => plan.stack([[source(0)], [source(1)], [source(2)]]));
    for (const plan of [whole, split]) await uploaded(plan, { blockBytes: 64, blocks: 2 });
    const [all, parts] = stacks.map(contents);
    assertEquals(parts.map(([weights]) => weights.length), [96, 48]);
    assertEquals(parts.flatMap(([weights]) => weights), all.flatMap(([weights]) => weights));
    assertEquals(parts.flatMap(([, scales]) => scales), all.flatMap(([, scales]) => scales));
    assert(all[0][1].length > 0);
  });
});
