import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { matrixLayout, type WeightFormat } from "../../core/model/packing.ts";
import { absorb } from "../../kernels/absorb/absorb.ts";
import type { Device } from "../../kernels/device/device.ts";
import { embedding } from "../../kernels/embedding/embedding.ts";
import type { LinearConfig } from "../../kernels/linear/linear.ts";
import { matmul } from "../../kernels/linear/matmul.ts";
import { matvec } from "../../kernels/linear/matvec.ts";
import { canNormalise, normMatvec } from "../../kernels/linear/norm_matvec.ts";
import type { Select } from "../../kernels/linear/select.ts";
import { planOf, readTiles } from "../../kernels/moe_plan/layout.ts";
import { cacheWidth } from "../../kernels/latent_cache/layout.ts";
import { moePlan } from "../../kernels/moe_plan/moe_plan.ts";
import { rmsNorm } from "../../kernels/rms_norm/rms_norm.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, openTestDevice } from "../support/devices.ts";
import { runKernel } from "../support/kernel.ts";
import { ALL_STORED, INT4_SCALINGS, multiplied, randomMatrix, type Stored } from "../support/matrices.ts";
import { Random } from "../../bench/support/random.ts";

const TOLERANCE = 1e-5;
describeOnDevices("linear layers", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  /** Whether inputs of such weights are rounded. */
  const rounds = (format: WeightFormat) => kind === "wasm" && (format === "q8" || format === "q4");

  // What differs between ways of storing scales is small, and a software driver compiles for seconds.
  const others: Stored[] = kind === "cpu" || kind === "wasm"
    ? [...INT4_SCALINGS.map((scaling): Stored => ["int4", scaling]), ["int8", "f16"], ["int8", "f32"], ["int8", "f32-zero"]]
    : [];
  const isTested = ([format, scaling]: Stored) => ALL_STORED.some((stored) => stored[0] === format && stored[1] === scaling);
  for (const [format, scaling] of [...ALL_STORED, ...others.filter((stored) => !isTested(stored))]) {
    it(`multiplies ${format} ${scaling ?? ""} matrices of awkward sizes by one or several rows`, async () => {
      const random = new Random();
      for (
        const [outputs, columns, items, input] of [[61, 69, 1, "plain"], [7, 132, 5, "gated"], [1, 1, 2, "gated"], [69, 200, 0, "plain"], [
          11,
          160,
          5,
          "plain",
        ], [29, 144, 6, "gated"]] as const
      ) {
        const layout = matrixLayout(format, columns, columns % 16 === 0 ? 32 : 20, scaling);
        const { packed, values } = randomMatrix(random, layout, outputs);
        const config: LinearConfig = { layout, outputs, inputStride: 2 * columns + (columns === 160 ? 4 : 3), input, select: { kind: "all" } };
        const x = random.normals(Math.max(1, items) * config.inputStride);
        const expected = multiplied(values, x, config, Array.from({ length: items }, (_, i) => ({ matrix: 0, input: i })), rounds(format));
        // What is rounded after it was computed may lie on the edge of two levels.
        const tolerance = rounds(format) && input === "gated" ? 3e-3 : TOLERANCE;
        const inputs = { weights: packed.data, scales: packed.scales, routes: { poison: 1 }, x, y: { poison: Math.max(1, items * outputs) } };
        const params = { items, first_output: 0, part_outputs: outputs, first_matrix: 0, matrices: 1 };
        for (const [itemsAtOnce, manyItems] of [[1, false], [4, false], [4, true]] as const) {
          const { y } = await runKernel(device, matvec, { ...config, itemsAtOnce, manyItems }, inputs, params);
          assertClose(
            y.f32.subarray(0, items * outputs),
            expected,
            tolerance,
            `matvec ${format} ${outputs}×${columns} × ${items}, ${itemsAtOnce} at once${manyItems ? ", of many" : ""}`,
          );
        }
        const { y } = await runKernel(device, matmul, { ...config, select: { kind: "all" }, plan: null }, inputs, params);
        assertClose(y.f32.subarray(0, items * outputs), expected, tolerance, `matmul ${format} ${outputs}×${columns} × ${items}`);
      }
    });
  }

  for (const input of ["plain", "gated"] as const) {
    it(`adds in the same order however many rows there are, ${input}`, async () => {
      const random = new Random();
      const layout = matrixLayout("bf16", 300);
      const { packed } = randomMatrix(random, layout, 70);
      const config = { layout, outputs: 70, inputStride: 600, input, select: { kind: "all" } as const };
      const x = random.normals(40 * 600);
      const run = async (items: number, variant: "single" | "several" | "tiled") => {
        const inputs = { weights: packed.data, scales: packed.scales, routes: { poison: 1 }, x, y: { poison: items * 70 } };
        const params = { items, first_output: 0, part_outputs: 70, first_matrix: 0, matrices: 1 };
        const { y } = variant === "tiled"
          ? await runKernel(device, matmul, { ...config, plan: null }, inputs, params)
          : await runKernel(device, matvec, { ...config, itemsAtOnce: variant === "single" ? 1 : 4 }, inputs, params);
        return y.u32.subarray(0, 70);
      };
      const first = await run(1, "single");
      assertEquals(await run(2, "several"), first);
      assertEquals(await run(7, "several"), first);
      assertEquals(await run(40, "tiled"), await run(1, "tiled"));
    });
  }

  for (const [format, columns, outputs] of [["bf16", 300, 70], ["q4", 1088, 37], ["f32", 64, 9]] as const) {
    it(`normalises its input as rms_norm does, to the last bit, ${format}`, async () => {
      const random = new Random();
      const layout = matrixLayout(format, columns, 32);
      const { packed } = randomMatrix(random, layout, outputs);
      const config = { layout, outputs, inputStride: columns, input: "plain" as const, select: { kind: "all" } as const, itemsAtOnce: 1 as const };
      assertEquals(canNormalise(config), true);
      const [x, gamma, eps] = [random.normals(columns, 3), random.normals(columns), 1e-6];
      const { y: normed } = await runKernel(device, rmsNorm, { width: columns, inputStride: columns, eps }, { x, gamma, y: { poison: columns } }, {
        rows: 1,
        first_row: 0,
      });
      const params = { items: 1, first_output: 0, part_outputs: outputs, first_matrix: 0, matrices: 1 };
      const bound = { weights: packed.data, scales: packed.scales, routes: { poison: 1 }, y: { poison: outputs } };
      const apart = await runKernel(device, matvec, config, { ...bound, x: normed.f32 }, params);
      for (const keeps of ["f32", "f16", false] as const) {
        const inputs = { ...bound, x, gamma, normed: { poison: columns } };
        const together = await runKernel(device, normMatvec, { ...config, eps, keeps }, inputs, params);
        assertEquals(together.y.u32, apart.y.u32);
        if (keeps === "f32") assertEquals(together.normed.u32, normed.u32);
        else if (keeps === "f16") assertEquals(new Float16Array(together.normed.u32.buffer).subarray(0, columns), Float16Array.from(normed.f32));
        else assertEquals(together.normed.f32.every(Number.isNaN), true, "nothing is kept");
      }
    });
  }

  it("adds to what is there, in every number of rows", async () => {
    const random = new Random();
    const [outputs, columns, items] = [33, 300, 6];
    const layout = matrixLayout("bf16", columns);
    const { packed } = randomMatrix(random, layout, outputs);
    const config = { layout, outputs, inputStride: 2 * columns, input: "gated" as const, select: { kind: "all" } as const };
    const [x, before] = [random.normals(items * 2 * columns), random.normals(items * outputs)];
    const bound = { weights: packed.data, scales: packed.scales, routes: { poison: 1 } };
    for (const [itemsAtOnce, count] of [[1, 1], [4, items]] as const) {
      const params = { items: count, first_output: 0, part_outputs: outputs, first_matrix: 0, matrices: 1 };
      const { y: product } = await runKernel(device, matvec, { ...config, itemsAtOnce }, { ...bound, x, y: { poison: items * outputs } }, params);
      const { y } = await runKernel(device, matvec, { ...config, itemsAtOnce, adds: true }, { ...bound, x, y: before }, params);
      assertEquals(y.f32, before.map((value, i) => i < count * outputs ? Math.fround(value + product.f32[i]) : value));
    }
  });

  it("writes only the part of the outputs whose rows are bound", async () => {
    const random = new Random();
    const layout = matrixLayout("q8", 80);
    const { packed, values } = randomMatrix(random, layout, 9);
    const whole: LinearConfig = { layout, outputs: 20, inputStride: 80, input: "plain", select: { kind: "all" } };
    const x = random.normals(3 * 80);
    const expected = multiplied(values, x, { ...whole, outputs: 9 }, [0, 1, 2].map((input) => ({ matrix: 0, input })), rounds("q8"));
    const inputs = { weights: packed.data, scales: packed.scales, routes: { poison: 1 }, x, y: { poison: 60 } };
    const params = { items: 3, first_output: 5, part_outputs: 9, first_matrix: 0, matrices: 1 };
    for (
      const { y } of [
        await runKernel(device, matvec, { ...whole, itemsAtOnce: 4 }, inputs, params),
        await runKernel(device, matmul, { ...whole, select: { kind: "all" }, plan: null }, inputs, params),
      ]
    ) {
      for (let item = 0; item < 3; item++) {
        assertClose(y.f32.subarray(item * 20 + 5, item * 20 + 14), expected.subarray(item * 9, item * 9 + 9), TOLERANCE, "part");
        assertEquals(y.f32.subarray(item * 20, item * 20 + 5).every(Number.isNaN), true, "before the part");
        assertEquals(y.f32.subarray(item * 20 + 14, item * 20 + 20).every(Number.isNaN), true, "after the part");
      }
    }
  });

  for (const group of [24, 32]) {
    it(`gathers the rows of each expert, of all experts or of a bound bank, scales of ${group}`, async () => {
      const random = new Random();
      const [experts, outputs, columns, tokens, perInput] = [5, 33, 68, 37, 3];
      const layout = matrixLayout("fp8", columns, group);
      const { packed, values } = randomMatrix(random, layout, experts * outputs);
      const items = tokens * perInput;
      // Expert 3 gets nothing, expert 0 more than a tile.
      const routes = Uint32Array.from({ length: items }, () => [0, 0, 0, 1, 2, 4][random.below(6)]);
      const x = random.normals(tokens * 2 * columns);
      const select: Select & { kind: "expert" } = { kind: "expert", perInput };
      const config = { layout, outputs, inputStride: 2 * columns, input: "gated" as const, select };
      const expected = multiplied(values, x, config, [...routes].map((matrix, i) => ({ matrix, input: Math.floor(i / perInput) })));
      for (const [first, count, tileItems] of [[0, experts, 32], [1, 2, 32], [0, experts, 64]] as const) {
        const planLayout = { items, experts, tileItems };
        const { plan } = await runKernel(device, moePlan, planLayout, { routes, plan: { poison: planOf(planLayout).words } }, { items });
        const bank = packed.data.slice(first * outputs * layout.rowBytes, (first + count) * outputs * layout.rowBytes);
        const scales = packed.scales.slice(first * outputs * layout.scaleRowBytes, (first + count) * outputs * layout.scaleRowBytes);
        const params = { items, first_output: 0, part_outputs: outputs, first_matrix: first, matrices: count };
        const y = { poison: items * outputs };
        for (
          const result of [
            await runKernel(device, matvec, { ...config, itemsAtOnce: 1 }, { weights: bank, scales, routes, x, y }, params),
            await runKernel(device, matmul, { ...config, plan: planLayout }, { weights: bank, scales, routes: plan.u32, x, y }, params),
          ]
        ) {
          for (let item = 0; item < items; item++) {
            const row = result.y.f32.subarray(item * outputs, (item + 1) * outputs);
            if (routes[item] >= first && routes[item] < first + count) {
              assertClose(row, expected.subarray(item * outputs, (item + 1) * outputs), TOLERANCE, `item ${item}`);
            } else assertEquals(row.every(Number.isNaN), true, `item ${item} belongs to another bank`);
          }
        }
      }
    });
  }

  it("plans an empty batch and sorts items by expert", async () => {
    const planLayout = { items: 100, experts: 3, tileItems: 32 };
    const words = planOf(planLayout).words;
    const empty = await runKernel(device, moePlan, planLayout, { routes: new Uint32Array(100), plan: { poison: words } }, { items: 0 });
    assertEquals(empty.plan.u32[0], 0);
    const routes = Uint32Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? 2 : 0));
    const { plan } = await runKernel(device, moePlan, planLayout, { routes, plan: { poison: words } }, { items: 100 });
    assertEquals([...plan.u32.subarray(0, 1), ...plan.u32.subarray(4, 16)], [4, 0, 0, 32, 0, 32, 18, 2, 50, 32, 2, 82, 18]);
    const { items } = planOf(planLayout);
    assertEquals([...plan.u32.subarray(items, items + 100)], [
      ...Array.from({ length: 50 }, (_, i) => 2 * i + 1),
      ...Array.from({ length: 50 }, (_, i) => 2 * i),
    ]);
  });

  it("plans batches of any size", async () => {
    const random = new Random();
    for (const [items, experts, tileItems] of [[1, 3, 32], [3071, 64, 64], [4096, 384, 64], [5001, 7, 32], [2049, 1, 64], [300, 1024, 32]] as const) {
      const routes = Uint32Array.from({ length: items }, () => random.below(experts));
      const planLayout = { items, experts, tileItems };
      const { plan } = await runKernel(device, moePlan, planLayout, { routes, plan: { poison: planOf(planLayout).words } }, { items });
      const tiles = readTiles(planLayout, plan.u32);
      const expected = Array.from({ length: experts }, (_, expert) => Array.from(routes.keys()).filter((item) => routes[item] === expert))
        .flatMap((chosen, matrix) =>
          Array.from({ length: Math.ceil(chosen.length / tileItems) }, (_, tile) => ({
            matrix,
            items: Uint32Array.from(chosen.slice(tile * tileItems, (tile + 1) * tileItems)),
          }))
        );
      assertEquals(tiles, expected, `${items} items`);
    }
  });

  for (const [format, scaling] of ALL_STORED) {
    it(`absorbs per head, ${format} ${scaling ?? ""}`, async () => {
      const random = new Random();
      const [heads, rows, tokens, stride] = [3, 13, 4, 19];
      for (const columns of [61, 256]) {
        const layout = matrixLayout(format, columns, columns === 61 ? 20 : 32, scaling);
        const { packed, values } = randomMatrix(random, layout, heads * rows);
        const items = tokens * heads;
        const x = random.normals(items * stride);
        const queries = { dtype: "f32", keyWidth: columns, ropeWidth: 6 } as const;
        const width = cacheWidth(queries);
        const inputs = { weights: packed.data, scales: packed.scales, x, queries: { poison: items * width } };
        const config = { layout, heads, rows, inputStride: stride, queries };
        const result = await runKernel(device, absorb, { ...config, tokensAtOnce: 1 }, inputs, { items });
        const together = await runKernel(device, absorb, { ...config, tokensAtOnce: 2 }, inputs, { items });
        assertEquals(together.queries.u32, result.queries.u32, `absorb ${format} ${columns}, two tokens at once`);
        for (let item = 0; item < items; item++) {
          const expected = Float64Array.from({ length: columns }, (_, k) => {
            let sum = 0;
            for (let r = 0; r < rows; r++) sum += x[item * stride + r] * values[((item % heads) * rows + r) * columns + k];
            return sum;
          });
          assertClose(result.queries.f32.subarray(item * width, item * width + columns), expected, TOLERANCE, `absorb ${format} ${columns}`);
          assertEquals(result.queries.f32.subarray(item * width + columns, (item + 1) * width).every(Number.isNaN), true, "the rest is left alone");
        }
      }
    });
  }

  for (const scaling of INT4_SCALINGS) {
    it(`reads scales of int4 and int8 as ${scaling}, whatever they are for`, async () => {
      const random = new Random();
      for (const [format, group] of [["int4", 12], ["int4", 32], ["int8", 16], ["int4", 128]] as const) {
        // Of eight bits there are none with integers for zero points.
        if (format === "int8" && (scaling === "f16-zero" || scaling === "bf16-zero")) continue;
        const layout = matrixLayout(format, 202, group, scaling);
        const { packed, values } = randomMatrix(random, layout, 5);
        const step = Uint32Array.from([3, 0, 4].flatMap((token) => [token, 0, 0, 0]));
        const inputs = { weights: packed.data, scales: packed.scales, step, y: { poison: 3 * 202 } };
        const { y } = await runKernel(device, embedding, { layout, scale: 1 }, inputs, { items: 3, first_row: 0, part_rows: 5 });
        [3, 0, 4].forEach((token, i) => {
          assertEquals(y.f32.subarray(i * 202, (i + 1) * 202), values.subarray(token * 202, (token + 1) * 202), `groups of ${group}`);
        });
      }
    });
  }

  it("looks up embeddings, also when the table is split", async () => {
    const random = new Random();
    const layout = matrixLayout("bf16", 69);
    const { packed, values } = randomMatrix(random, layout, 10);
    const step = Uint32Array.from([3, 9, 0, 5, 6].flatMap((token) => [token, 0, 0, 0]));
    const bank = packed.data.slice(3 * layout.rowBytes, 7 * layout.rowBytes);
    for (const scale of [1, 12.7]) {
      const inputs = { weights: bank, scales: { poison: 1 }, step, y: { poison: 5 * 69 } };
      const { y } = await runKernel(device, embedding, { layout, scale }, inputs, { items: 5, first_row: 3, part_rows: 4 });
      [3, 9, 0, 5, 6].forEach((token, item) => {
        const row = y.f32.subarray(item * 69, (item + 1) * 69);
        const expected = values.slice(token * 69, (token + 1) * 69).map((value) => value * scale);
        if (token < 3 || token >= 7) assertEquals(row.every(Number.isNaN), true);
        else if (scale === 1) assertEquals(row, expected);
        else assertClose(row, expected, TOLERANCE, `times ${scale}`);
      });
    }
  });
});
