import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { matrixLayout } from "../../core/model/packing.ts";
import type { Device } from "../../kernels/device/device.ts";
import type { MatmulConfig } from "../../kernels/linear/matmul.ts";
import { divideUnits, matmulUnits, UNITS_TILE_SIZES, type UnitsDivision } from "../../kernels/linear/matmul_units.ts";
import { roundInput } from "../../kernels/linear/round_input.ts";
import { planOf, UNITS_TILE_ITEMS } from "../../kernels/moe_plan/layout.ts";
import { moePlan } from "../../kernels/moe_plan/moe_plan.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, itOnUnits, openTestDevice, unitsOf } from "../support/devices.ts";
import { fewOf, reportLeftOut, WHOLE } from "../support/extent.ts";
import { runKernel } from "../support/kernel.ts";
import { ALL_STORED, multiplied, randomMatrix } from "../support/matrices.ts";
import { Random } from "../../bench/support/random.ts";

/** Bytes of workgroup memory that change how a tile is divided. */
const LIMITS = [49152, 20480, 13000];

/** Every way in which a layer's tiles are divided somewhere. */
function divided<C extends Parameters<typeof divideUnits>[0]>(config: C): (C & { readonly division: UnitsDivision })[] {
  const divisions = LIMITS.map((limit) => divideUnits(config, limit)).filter((division) => division !== null);
  return [...new Map(divisions.map((division) => [JSON.stringify(division), division])).values()].map((division) => ({ ...config, division }));
}

/** Matrix units round what they multiply to f16. */
const TOLERANCE = 2e-3;

describeOnDevices("linear layers of rounded inputs", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  for (const input of ["plain", "gated"] as const) {
    it(`rounds ${input} inputs to f16, and what f16 cannot hold to the largest that it can`, async () => {
      const random = new Random();
      const [rows, columns] = [5, 1048];
      const inputStride = 2 * columns + 4;
      const x = random.normals(rows * inputStride);
      // Gates and values of the last row's first columns.
      for (const at of [0, columns]) x.set([1e6, -1e9], (rows - 1) * inputStride + at);
      const y = { poison: rows * columns / 2 };
      const rounded = await runKernel(device, roundInput, { columns, inputStride, input }, { x, y }, { rows });
      const expected = Array.from({ length: rows * columns }, (_, i) => {
        const at = Math.floor(i / columns) * inputStride + i % columns;
        return input === "plain" ? x[at] : x[at] / (1 + Math.exp(-x[at])) * x[at + columns];
      });
      const actual = new Float16Array(rounded.y.u32.buffer);
      const last = (rows - 1) * columns;
      assertClose(actual.subarray(0, last), expected.slice(0, last), 1e-3, "rounded");
      assertClose(actual.subarray(last + 2), expected.slice(last + 2), 1e-3, "rounded, last row");
      assertEquals([...actual.subarray(last, last + 2)], input === "plain" ? [65504, -65504] : [65504, 0]);
    });
  }

  if (kind === "cpu") reportLeftOut("matrix units in tiles of other sizes, divided in other ways");
  // Not f32, which asks for more.
  for (const [format, scaling] of ALL_STORED.slice(1)) {
    itOnUnits(kind)(`multiplies ${format} ${scaling ?? ""} matrices on matrix units`, async () => {
      const random = new Random();
      const units = unitsOf(device);
      // Whole tiles and parts of them in both directions; experts with several tiles, one and none.
      const [outputs, columns, tokens, experts] = [200, 192, 150, 5];
      const layout = matrixLayout(format, columns, 32, scaling);
      const { packed, values } = randomMatrix(random, layout, experts * outputs);
      const x = random.normals(tokens * 2 * columns);
      const weights = { weights: packed.data, scales: packed.scales };
      const config = { layout, outputs, inputStride: 2 * columns, input: "gated", select: { kind: "all" }, plan: null } as const;
      const rounded = async (input: "plain" | "gated") => {
        const y = { poison: tokens * columns / 2 };
        return (await runKernel(device, roundInput, { columns, inputStride: 2 * columns, input }, { x, y }, { rows: tokens })).y.u32;
      };
      const inputs = { ...weights, routes: { poison: 1 }, x: await rounded("gated"), y: { poison: tokens * outputs } };
      const items = Array.from({ length: tokens }, (_, input) => ({ matrix: 0, input }));
      const whole = { items: tokens, first_output: 0, part_outputs: outputs, first_matrix: 0, matrices: 1 };
      const results: Float32Array[] = [];
      const tiled = UNITS_TILE_SIZES.flatMap((tileItems) => divided({ ...config, tileItems, input: "rounded", output: "f32" } as const));
      assertEquals(new Set(tiled.map(({ division }) => division.depth)), new Set([32, 64]));
      for (const on of fewOf(tiled)) {
        const { tileItems } = on;
        const { y } = await runKernel(units, matmulUnits, on, inputs, whole);
        assertClose(y.f32, multiplied(values, x, config, items), TOLERANCE, `${format} whole, ${tileItems} items at a time`);
        results.push(y.f32);
        if (results.length > 1) continue;
        const halves = await runKernel(units, matmulUnits, { ...on, output: "f16" }, { ...inputs, y: { poison: tokens * outputs / 2 } }, whole);
        assertEquals(new Float16Array(halves.y.f32.buffer), Float16Array.from(y.f32), "what is rounded at once is what would be rounded later");
      }
      for (const other of results) assertEquals(other, results[0], "the same bits in tiles of any size");
      const routes = Uint32Array.from({ length: 2 * tokens }, () => [0, 0, 0, 1, 2, 4][random.below(6)]);
      const routed: Float32Array[] = [];
      const x16 = await rounded("plain");
      for (const tileItems of fewOf(UNITS_TILE_ITEMS)) {
        const planLayout = { items: 2 * tokens, experts, tileItems };
        const { plan } = await runKernel(device, moePlan, planLayout, { routes, plan: { poison: planOf(planLayout).words } }, { items: 2 * tokens });
        const expert: MatmulConfig = { ...config, input: "plain", select: { kind: "expert", perInput: 2 }, plan: planLayout };
        const expected = multiplied(values, x, expert, [...routes].map((matrix, i) => ({ matrix, input: Math.floor(i / 2) })));
        const ways = divided({ ...expert, tileItems, input: "rounded", output: "f32" } as const);
        for (const on of WHOLE ? ways : ways.slice(0, 1)) {
          const { y } = await runKernel(
            units,
            matmulUnits,
            on,
            { ...weights, routes: plan.u32, x: x16, y: { poison: 2 * tokens * outputs } },
            { items: 2 * tokens, first_output: 0, part_outputs: outputs, first_matrix: 0, matrices: experts },
          );
          assertClose(y.f32, expected, TOLERANCE, `${format} experts, ${tileItems} items at a time`);
          routed.push(y.f32);
        }
      }
      for (const other of routed) assertEquals(other, routed[0], "the same bits whatever the plan");
    });
  }
});
