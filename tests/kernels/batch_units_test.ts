import { isHost } from "../../core/device_kind.ts";
import { afterAll, beforeAll } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { matrixLayout } from "../../core/model/packing.ts";
import type { Device } from "../../kernels/device/device.ts";
import { batchUnits, fitsBatchUnits, fitsUnitsOutput, type UnitsDivision, type UnitsOutput } from "../../kernels/linear/batch_units.ts";
import { decodeWays } from "../../kernels/linear/choose.ts";
import type { Select } from "../../kernels/linear/select.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, itOnUnits, openTestDevice, unitsOf } from "../support/devices.ts";
import { type Bound, expectedOf, makeTask, rounded, routesOf, runTask, type Task } from "../support/linear_task.ts";
import { ALL_STORED } from "../support/matrices.ts";
import { Random, SEED } from "../../bench/support/random.ts";

/** Matrix units round what they multiply to f16. */
const TOLERANCE = 1e-3;
const ALL: Select = { kind: "all" };
const BASE: UnitsDivision = { columnParts: 2, outputParts: 1, outputTiles: 2, items: 16, depth: 64, ahead: 2 };
/** Other tiles, with the same parts of the columns: few items, several tiles of them, outputs in parts, other steps, more of them ahead. */
const OTHERS: readonly UnitsDivision[] = [
  { ...BASE, items: 1, outputTiles: 1 },
  { ...BASE, items: 4, outputTiles: 3, depth: 32, ahead: 1 },
  { ...BASE, items: 24, outputParts: 2, outputTiles: 1, depth: 96, ahead: 3 },
  { ...BASE, items: 64, outputTiles: 1, depth: 128 },
  { ...BASE, depth: 32, ahead: 4 },
];

interface How {
  readonly division?: UnitsDivision;
  readonly output?: UnitsOutput;
  readonly bound?: Bound;
  readonly adds?: boolean;
}

/** Bits of a task whose inputs are rounded before. */
async function run(
  device: Device,
  task: Task,
  { division = BASE, output = "f32", bound = {}, adds = false }: How = {},
): Promise<Uint32Array<ArrayBuffer>> {
  return await runTask(device, batchUnits, { division, output, mostItems: task.items }, rounded(task), bound, adds);
}

/** The first rows of a task. */
function firstRows(task: Task, rows: number, itemsPerRow = 1): Task {
  return { ...task, items: rows * itemsPerRow };
}

describeOnDevices("linear layers of decode on matrix units", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = unitsOf(await openTestDevice(kind))));
  afterAll(() => device.close());
  const test = itOnUnits(kind);

  // Not f32, which asks for more.
  for (const [format, scaling] of ALL_STORED.slice(1)) {
    test(`multiply ${format} ${scaling ?? ""} matrices, whole steps of columns and rows of any size`, async () => {
      const random = new Random();
      for (const [columns, outputs, rows, input] of [[256, 40, 17, "plain"], [328, 33, 3, "gated"], [56, 20, 5, "gated"]] as const) {
        const task = makeTask(random, { layout: matrixLayout(format, columns, 32, scaling), outputs, rows, select: ALL, input });
        const config = { ...task.config, division: BASE, mostItems: rows };
        assert(fitsBatchUnits(config, device.limits.maxWorkgroupBytes));
        assert(
          !fitsBatchUnits({ ...config, layout: { ...config.layout, columns: columns - 4 } }, device.limits.maxWorkgroupBytes),
          "octets of inputs",
        );
        assertClose(new Float32Array((await run(device, task)).buffer), expectedOf(task), TOLERANCE, `${format}, ${columns} columns`);
      }
    });
  }

  test("give each row the bits that it has alone, for any number of rows and in tiles of any size", async () => {
    const task = makeTask(new Random(), { layout: matrixLayout("bf16", 72), outputs: 20, rows: 64, select: ALL });
    const all = await run(device, task, { division: OTHERS[3] });
    const bitsOf = (rows: number) => all.subarray(0, rows * 20);
    const divisionFor = (rows: number) => [OTHERS[0], OTHERS[1], BASE, OTHERS[2], OTHERS[3]].find(({ items }) => rows <= items)!;
    for (let rows = 1; rows <= 64; rows++) {
      assertEquals(await run(device, firstRows(task, rows), { division: divisionFor(rows) }), bitsOf(rows), `${rows} rows`);
    }
    for (const division of [BASE, ...OTHERS]) {
      assertEquals(await run(device, firstRows(task, 33), { division }), bitsOf(33), JSON.stringify(division));
    }
    const stride = task.config.inputStride;
    for (const row of [1, 15, 40, 63]) {
      const alone = { ...firstRows(task, 1), x: task.x.slice(row * stride, (row + 1) * stride) };
      assertEquals(await run(device, alone, { division: OTHERS[0] }), all.subarray(row * 20, row * 20 + 20), `row ${row}`);
    }
  });

  test("give what the next layer takes: sums in f16, or activated", async () => {
    const task = makeTask(new Random(), { layout: matrixLayout("bf16", 72), outputs: 44, rows: 19, select: ALL });
    const sums = new Float32Array((await run(device, task)).buffer);
    const inF16 = Float16Array.from(sums);
    const activated = Float64Array.from({ length: 19 * 22 }, (_, i) => {
      const [gate, value] = [0, 22].map((half) => sums[Math.floor(i / 22) * 44 + half + i % 22]);
      return gate / (1 + Math.exp(-gate)) * value;
    });
    let bits: Uint32Array | null = null;
    for (const division of [BASE, ...OTHERS]) {
      const halves = await run(device, task, { division, output: "f16" });
      assertEquals(new Float16Array(halves.buffer, 0, 19 * 44), inF16, "what is rounded at once is what would be rounded later");
      const all = await run(device, task, { division, output: "activated" });
      assertClose(new Float16Array(all.buffer, 0, 19 * 22), activated, TOLERANCE, "activated");
      assertEquals(all, bits ??= all, JSON.stringify(division));
      assertEquals((await run(device, firstRows(task, 3), { division, output: "activated" })).subarray(0, 33), bits.subarray(0, 33));
    }
    assertEquals([20, 21, 22].map((outputs) => (["f32", "f16", "activated"] as const).map((output) => fitsUnitsOutput(outputs, output))), [
      [true, true, true],
      [true, false, false],
      [true, true, false],
    ]);
  });

  test("round what f16 cannot hold to the largest that it can", async () => {
    const task = makeTask(new Random(), { layout: matrixLayout("f16", 64), outputs: 8, rows: 3, select: ALL });
    const large = { ...task, x: task.x.map((value) => value * 2 ** 14) };
    const sums = new Float32Array((await run(device, large)).buffer);
    assert(sums.some((sum) => sum > 65504) && sums.some((sum) => sum < -65504));
    const halves = new Float16Array((await run(device, large, { output: "f16" })).buffer, 0, sums.length);
    assertEquals([...halves], [...sums].map((sum) => Math.f16round(Math.max(-65504, Math.min(65504, sum)))));
  });

  test("let nothing of a row get to another, whatever it is", async () => {
    const task = makeTask(new Random(), { layout: matrixLayout("bf16", 72), outputs: 20, rows: 20, select: ALL });
    const expected = await run(device, task);
    const spoilt = (row: number) => row % 3 === 1;
    const x = task.x.map((value, i) => spoilt(Math.floor(i / task.config.inputStride)) ? [NaN, Infinity, -Infinity][i % 3] : value);
    const actual = await run(device, { ...task, x });
    for (let row = 0; row < 20; row++) {
      if (!spoilt(row)) assertEquals(actual.subarray(row * 20, row * 20 + 20), expected.subarray(row * 20, row * 20 + 20), `row ${row}`);
    }
  });

  test("give them in parts of the outputs, added to what is there, and none of no rows", async () => {
    const task = makeTask(new Random(), { layout: matrixLayout("bf16", 72), outputs: 50, rows: 5, select: ALL, input: "gated" });
    const [whole, part] = [await run(device, task), await run(device, task, { bound: { firstOutput: 13, outputs: 29 } })];
    const within = (i: number) => i % 50 >= 13 && i % 50 < 42;
    const pairs = await run(device, task, { output: "f16", bound: { firstOutput: 14, outputs: 28 } });
    const halves = new Float16Array(pairs.buffer, 0, 5 * 50);
    assertEquals(
      halves.filter((_, i) => i % 50 >= 14 && within(i)),
      Float16Array.from(new Float32Array(whole.buffer).filter((_, i) => i % 50 >= 14 && within(i))),
    );
    assertEquals(
      new Set([...new Uint16Array(halves.buffer, 0, 250)].filter((_, i) => !within(i))).size,
      2,
      "the others are left alone: two halves of a NaN",
    );
    assertEquals(part.filter((_, i) => within(i)), whole.filter((_, i) => within(i)));
    assertEquals(new Set(part.filter((_, i) => !within(i))).size, 1, "the others are left alone");
    const before = new Random(SEED + 1).normals(task.items * 50);
    const sums = new Float32Array(whole.buffer).map((value, i) => value + before[i]);
    assertEquals(new Float32Array((await run(device, task, { adds: true })).buffer), sums);
    assertEquals(await run(device, firstRows(task, 0)), new Uint32Array(0));
  });

  test("multiply those of heads, or of the heads that are bound", async () => {
    const task = makeTask(new Random(), { layout: matrixLayout("q8", 96), outputs: 21, rows: 18, select: { kind: "head", heads: 3 } });
    const whole = await run(device, task);
    assertClose(new Float32Array(whole.buffer), expectedOf(task), TOLERANCE, "heads");
    assertEquals(await run(device, firstRows(task, 5, 3), { division: OTHERS[1] }), whole.subarray(0, 5 * 3 * 21));
    const ofOne = (bits: Uint32Array) => bits.filter((_, i) => Math.floor(i / 21) % 3 === 1);
    assertEquals(ofOne(await run(device, task, { bound: { firstMatrix: 1, matrices: 1 } })), ofOne(whole));
  });

  test("multiply those of experts, whichever rows have which, all of them or a bank", async () => {
    const [experts, active, most] = [5, 2, 40];
    const shape = { layout: matrixLayout("bf16", 40), outputs: 20, experts, active, rows: most } as const;
    for (const select of [{ kind: "expert", perInput: active }, { kind: "expert", perInput: 1 }] as const) {
      const all = makeTask(new Random(), { ...shape, select, input: select.perInput === 1 ? "gated" : "plain" });
      const wanted = new Map<number, Uint32Array>();
      await fc.assert(
        // Experts with no items, one tile of them, and several.
        fc.asyncProperty(fc.integer({ min: 1, max: most }), fc.nat(), fc.boolean(), async (rows, seed, skewed) => {
          const routes = routesOf(new Random(seed), { rows, experts: skewed ? active : experts, active });
          const task = { ...firstRows(all, rows, active), routes };
          const bits = await run(device, task);
          assertClose(new Float32Array(bits.buffer), expectedOf(task), TOLERANCE, `${rows} rows`);
          const forNext = new Float16Array((await run(device, task, { output: "f16" })).buffer, 0, bits.length);
          assertEquals(forNext, Float16Array.from(new Float32Array(bits.buffer)), "in f16");
          const bank = await run(device, task, { division: OTHERS[0], bound: { firstMatrix: 2, matrices: 2 } });
          routes.forEach((expert, item) => {
            const [of, ofBank] = [bits, bank].map((bits) => bits.subarray(item * 20, item * 20 + 20));
            if (expert === 2 || expert === 3) assertEquals(ofBank, of, "of a bank");
            const input = Math.floor(item / select.perInput) * experts + expert;
            const known = wanted.get(input);
            if (known === undefined) wanted.set(input, of);
            else assertEquals(of, known, "the same bits beside others");
          });
        }),
        { seed: SEED, numRuns: 10 },
      );
    }
  });

  test("give the same bits in every division of a layer that is served, for any number of rows", async () => {
    const [random, workgroupLimit] = [new Random(), device.limits.maxWorkgroupBytes];
    for (
      const shape of [
        { outputs: 70, columns: 264, select: ALL },
        { outputs: 24, columns: 128, select: { kind: "head", heads: 2 } },
        { outputs: 40, columns: 192, select: { kind: "expert", perInput: 2 }, experts: 3, active: 2 },
        // The emulator would take long over the vocabulary.
        ...(isHost(kind) ? [] : [{ outputs: 16500, columns: 256, select: ALL }]),
      ] as const
    ) {
      const layout = matrixLayout("q8", shape.columns);
      const task = makeTask(random, { ...shape, layout, rows: 64, input: "plain" });
      const ways = decodeWays({ ...shape, layout, matrices: task.matrices }, { rows: 64, units: true, workgroupLimit });
      const itemsPerRow = task.items / 64;
      for (const output of ["f32", ...(fitsUnitsOutput(shape.outputs, "activated") ? ["activated" as const] : [])] as const) {
        const width = shape.outputs / (output === "f32" ? 1 : 4);
        const bits = await run(device, task, { division: ways.at(-1)!.units!, output });
        for (const rows of [1, 2, 5, 16, 17, 64]) {
          const division = ways.find(({ upTo }) => rows <= upTo)!.units!;
          const some = await run(device, firstRows(task, rows, itemsPerRow), { division, output });
          const words = rows * itemsPerRow * width;
          assertEquals(some.subarray(0, words), bits.subarray(0, words), `${rows} rows of ${JSON.stringify(division)}`);
        }
      }
    }
  });
});
