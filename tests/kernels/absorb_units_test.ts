/**
 * What prefill that attends to latents computes before and after: queries that are absorbed, and sums of latents that are projected to values, on matrix units.
 */
import { afterAll, beforeAll } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { matrixLayout } from "../../core/model/packing.ts";
import { absorbsOnUnits, absorbUnits } from "../../kernels/absorb/absorb_units.ts";
import type { Device } from "../../kernels/device/device.ts";
import { headsUnits } from "../../kernels/linear/heads_units.ts";
import { divideUnits, UNITS_TILE_SIZES } from "../../kernels/linear/matmul_units.ts";
import { cacheWidth, ropeOffset } from "../../kernels/latent_cache/layout.ts";
import { UNITS_WORKGROUP_BYTES } from "../../workers/load/plan_memory.ts";
import { Random } from "../../bench/support/random.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, itOnUnits, openTestDevice, unitsOf } from "../support/devices.ts";
import { runKernel } from "../support/kernel.ts";
import { ALL_STORED, randomMatrix } from "../support/matrices.ts";

describeOnDevices("prefill that absorbs", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  for (const [nopeWidth, keyWidth, ropeWidth] of [[32, 72, 16], [144, 16, 8]]) {
    itOnUnits(kind)(`absorbs queries of ${nopeWidth} columns, with the same bits whatever rows are beside`, async () => {
      const random = new Random();
      const [heads, rows, first] = [3, 131, 2];
      const queries = { dtype: "f16", keyWidth, ropeWidth } as const;
      const config = { heads, nopeWidth, queries };
      assertEquals(absorbsOnUnits(config, UNITS_WORKGROUP_BYTES), true);
      const weights = Float16Array.from(random.normals(keyWidth * heads * nopeWidth));
      const x = random.normals((first + rows) * heads * (nopeWidth + ropeWidth));
      const width = cacheWidth(queries);
      const run = async (first_row: number, rows: number) => {
        const inputs = {
          weights,
          x: x.slice(0, (first_row + rows) * heads * (nopeWidth + ropeWidth)),
          queries: { poison: rows * heads * width / 2 },
        };
        return Float32Array.from(
          new Float16Array((await runKernel(unitsOf(device), absorbUnits, config, inputs, { rows, first_row })).queries.u32.buffer),
        );
      };
      const all = await run(first, rows);
      const expected = Array.from({ length: rows * heads }, (_, item) => {
        const own = x.subarray((first * heads + item) * (nopeWidth + ropeWidth), (first * heads + item + 1) * (nopeWidth + ropeWidth));
        const absorbed = Array.from({ length: keyWidth }, (_, column) => {
          let sum = 0;
          for (let d = 0; d < nopeWidth; d++) sum += own[d] * weights[(column * heads + item % heads) * nopeWidth + d];
          return sum;
        });
        assertEquals(ropeOffset(queries), keyWidth);
        return [...absorbed, ...own.subarray(nopeWidth)];
      }).flat();
      assertClose(all, expected, 2e-3, "queries");
      assertEquals(await run(first + 65, 3), all.slice(65 * heads * width, 68 * heads * width));
    });
  }

  for (const [format, scaling] of ALL_STORED.slice(1)) {
    itOnUnits(kind)(
      `projects each head of many rows by a ${format} ${scaling ?? ""} matrix of its own, in tiles of any size with the same bits`,
      async () => {
        const random = new Random();
        const [heads, outputs, columns, first] = [3, 40, 64, 2];
        const layout = matrixLayout(format, columns, 32, scaling);
        const { packed, values } = randomMatrix(random, layout, heads * outputs);
        const select = { kind: "head", heads } as const;
        const results: Float32Array[] = [];
        const rows = 131;
        const x = Float16Array.from(random.normals(rows * heads * columns));
        for (const tileItems of UNITS_TILE_SIZES) {
          const config = { layout, outputs, inputStride: columns, input: "rounded", output: "f32", select, tileItems } as const;
          const division = divideUnits({ ...config, plan: null }, UNITS_WORKGROUP_BYTES)!;
          const inputs = {
            weights: packed.data,
            scales: packed.scales,
            routes: { poison: 1 },
            x,
            y: { poison: (first + rows) * heads * outputs },
          };
          const whole = { first_output: 0, part_outputs: outputs, first_matrix: 0, matrices: heads };
          const params = { ...whole, items: rows * heads, first_item: first * heads };
          const { y } = await runKernel(unitsOf(device), headsUnits, { ...config, division }, inputs, params);
          assertEquals(
            [...y.u32.subarray(0, first * heads * outputs)],
            new Array(first * heads * outputs).fill(0x7fc0dead),
            "rows before are left alone",
          );
          results.push(y.f32.slice(first * heads * outputs));
        }
        const expected = Array.from({ length: rows * heads * outputs }, (_, at) => {
          const [item, output] = [Math.floor(at / outputs), at % outputs];
          let sum = 0;
          for (let k = 0; k < columns; k++) sum += x[item * columns + k] * values[(item % heads * outputs + output) * columns + k];
          return sum;
        });
        assertClose(results[0], expected, 2e-3, "values");
        for (const other of results.slice(1)) assertEquals(other, results[0]);
      },
    );
  }
});
