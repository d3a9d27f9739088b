import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { matrixLayout, type WeightFormat } from "../../core/model/packing.ts";
import type { Device } from "../../kernels/device.ts";
import { type BatchDivision, batchMatvec } from "../../kernels/linear/batch_matvec.ts";
import { matvec } from "../../kernels/linear/matvec.ts";
import type { Select } from "../../kernels/linear/select.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, openTestDevice } from "../support/devices.ts";
import { runKernel } from "../support/kernel.ts";
import { multiplied, randomMatrix } from "../support/matrices.ts";
import { Random } from "../support/random.ts";

const FORMATS: readonly WeightFormat[] = ["f32", "f16", "bf16", "fp8", "q8", "q4"];
const DIVISION: BatchDivision = { threads: 64, passLanes: 8, outputsEach: 2, itemTeams: 1, itemsEach: [2, 4] };

describeOnDevices("linear layers of several rows", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());
  for (const format of FORMATS) {
    it(`gives each row of ${format} the bits it has alone`, async () => {
      const random = new Random();
      for (
        const [outputs, columns, items, input, select] of [
          [61, 1300, 7, "plain", { kind: "all" }],
          [7, 69, 3, "gated", { kind: "all" }],
        ] as const
      ) {
        const layout = matrixLayout(format, columns, columns === 1300 ? 32 : 20);
        const { packed, values } = randomMatrix(random, layout, outputs);
        const config = { layout, outputs, inputStride: 2 * columns, input, select };
        const x = random.normals(items * 2 * columns);
        const inputs = { weights: packed.data, scales: packed.scales, routes: { poison: 1 }, x, y: { poison: items * outputs } };
        const params = { items, first_output: 0, part_outputs: outputs, first_matrix: 0, matrices: 1 };
        const one = await runKernel(device, matvec, { ...config, itemsAtOnce: 1 }, inputs, params);
        const t = performance.now();
        const many = await runKernel(device, batchMatvec, { ...config, division: DIVISION, mostItems: items }, inputs, params);
        console.log(format, columns, performance.now() - t);
        assertEquals(many.y.u32, one.y.u32);
        const expected = multiplied(values, x, config, Array.from({ length: items }, (_, i) => ({ matrix: 0, input: i })));
        assertClose(many.y.f32, expected, 1e-5, "x");
      }
    });
  }
});
