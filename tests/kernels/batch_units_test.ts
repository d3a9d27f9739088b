import { isHost } from "../../core/device_kind.ts";
import { afterAll, beforeAll } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { matrixLayout } from "../../core/model/packing.ts";
import type { Device } from "../../kernels/device.ts";
import { batchUnits, batchUnitsWritable, fitsBatchUnits, type UnitsDivision } from "../../kernels/linear/batch_units.ts";
import { decodeWays } from "../../kernels/linear/choose.ts";
import { roundInput } from "../../kernels/linear/round_input.ts";
import type { Select } from "../../kernels/linear/select.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, itOnUnits, openTestDevice, unitsOf } from "../support/devices.ts";
import { runKernel } from "../support/kernel.ts";
import { type Bound, expectedOf, makeTask, routesOf, runTask, type Task } from "../support/linear_task.ts";
import { Random, SEED } from "../support/random.ts";

/** Matrix units round what they multiply to f16. */
const TOLERANCE = 1e-3;
const FORMATS = ["f16", "bf16", "fp8", "q8", "q4"] as const;
const ALL: Select = { kind: "all" };
const BASE: UnitsDivision = { columnParts: 2, outputParts: 1, outputTiles: 2, items: 16, depth: 64, ahead: 2, buffers: 1 };
/** Other tiles, with the same parts of the columns: few items, several tiles of them, outputs in parts, other steps, more of them ahead, and in memory. */
const OTHERS: readonly UnitsDivision[] = [
  { ...BASE, items: 1, outputTiles: 1 },
  { ...BASE, items: 4, outputTiles: 3, depth: 32, ahead: 1 },
  { ...BASE, items: 24, outputParts: 2, outputTiles: 1, depth: 96, ahead: 3 },
  { ...BASE, items: 64, outputTiles: 1, depth: 128, buffers: 2 },
  { ...BASE, depth: 32, ahead: 4, reads: "together" },
  { ...BASE, outputTiles: 1, ahead: 2, buffers: 2, reads: "together" },
];

async function run(device: Device, task: Task, division: UnitsDivision = BASE, bound: Bound = {}, adds = false): Promise<Uint32Array<ArrayBuffer>> {
  return await runTask(
    device,
    division.reads === undefined ? batchUnits : batchUnitsWritable,
    { division, mostItems: task.items },
    task,
    bound,
    adds,
  );
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

  for (const format of FORMATS) {
    test(`multiply ${format} matrices, whole steps of columns and rows of any size`, async () => {
      const random = new Random();
      for (const [columns, outputs, rows, input] of [[256, 40, 17, "plain"], [328, 33, 3, "gated"], [61, 20, 5, "gated"]] as const) {
        const task = makeTask(random, { layout: matrixLayout(format, columns, 32), outputs, rows, select: ALL, input });
        assert(fitsBatchUnits({ ...task.config, division: BASE, mostItems: rows }, device.limits.maxWorkgroupBytes));
        assertClose(new Float32Array((await run(device, task)).buffer), expectedOf(task), TOLERANCE, `${format}, ${columns} columns`);
      }
    });
  }

  test("give each row the bits that it has alone, for any number of rows and in tiles of any size", async () => {
    const task = makeTask(new Random(), { layout: matrixLayout("bf16", 72), outputs: 20, rows: 64, select: ALL });
    const all = await run(device, task, OTHERS[3]);
    const bitsOf = (rows: number) => all.subarray(0, rows * 20);
    const divisionFor = (rows: number) => [OTHERS[0], OTHERS[1], BASE, OTHERS[2], OTHERS[3]].find(({ items }) => rows <= items)!;
    for (let rows = 1; rows <= 64; rows++) assertEquals(await run(device, firstRows(task, rows), divisionFor(rows)), bitsOf(rows), `${rows} rows`);
    for (const division of [BASE, ...OTHERS]) assertEquals(await run(device, firstRows(task, 33), division), bitsOf(33), JSON.stringify(division));
    const stride = task.config.inputStride;
    for (const row of [1, 15, 40, 63]) {
      const alone = { ...firstRows(task, 1), x: task.x.slice(row * stride, (row + 1) * stride) };
      assertEquals(await run(device, alone, OTHERS[0]), all.subarray(row * 20, row * 20 + 20), `row ${row}`);
    }
  });

  test("take inputs that were rounded before, to the same bits", async () => {
    for (const [columns, input] of [[256, "plain"], [72, "gated"]] as const) {
      const task = makeTask(new Random(), { layout: matrixLayout("bf16", columns), outputs: 20, rows: 18, select: ALL, input });
      const { inputStride } = task.config;
      const buffers = { x: task.x, y: { poison: task.items * columns / 2 } };
      const { y } = await runKernel(device, roundInput, { columns, inputStride, input }, buffers, { rows: task.items });
      const rounded = { ...task, config: { ...task.config, input: "rounded" as const }, x: y.f32 };
      for (const division of [BASE, ...OTHERS]) assertEquals(await run(device, rounded, division), await run(device, task), JSON.stringify(division));
    }
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
    const [whole, part] = [await run(device, task), await run(device, task, BASE, { firstOutput: 13, outputs: 29 })];
    const within = (i: number) => i % 50 >= 13 && i % 50 < 42;
    assertEquals(part.filter((_, i) => within(i)), whole.filter((_, i) => within(i)));
    assertEquals(new Set(part.filter((_, i) => !within(i))).size, 1, "the others are left alone");
    const before = new Random(SEED + 1).normals(task.items * 50);
    const sums = new Float32Array(whole.buffer).map((value, i) => value + before[i]);
    assertEquals(new Float32Array((await run(device, task, BASE, {}, true)).buffer), sums);
    assertEquals(await run(device, firstRows(task, 0)), new Uint32Array(0));
  });

  test("multiply those of heads, or of the heads that are bound", async () => {
    const task = makeTask(new Random(), { layout: matrixLayout("q8", 96), outputs: 21, rows: 18, select: { kind: "head", heads: 3 } });
    const whole = await run(device, task);
    assertClose(new Float32Array(whole.buffer), expectedOf(task), TOLERANCE, "heads");
    assertEquals(await run(device, firstRows(task, 5, 3), OTHERS[1]), whole.subarray(0, 5 * 3 * 21));
    const ofOne = (bits: Uint32Array) => bits.filter((_, i) => Math.floor(i / 21) % 3 === 1);
    assertEquals(ofOne(await run(device, task, BASE, { firstMatrix: 1, matrices: 1 })), ofOne(whole));
  });

  test("multiply those of experts, whichever rows have which, all of them or a bank", async () => {
    const [experts, active, most] = [5, 2, 40];
    const shape = { layout: matrixLayout("bf16", 40), outputs: 19, experts, active, rows: most } as const;
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
          const bank = await run(device, task, OTHERS[0], { firstMatrix: 2, matrices: 2 });
          routes.forEach((expert, item) => {
            const [of, ofBank] = [bits, bank].map((bits) => bits.subarray(item * 19, item * 19 + 19));
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

  test("give the same bits in every division of a layer that is served", async () => {
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
      const task = makeTask(random, { ...shape, layout, rows: 35, input: "plain" });
      const ways = decodeWays({ ...shape, layout, matrices: task.matrices }, { rows: 64, units: true, workgroupLimit });
      const [first, ...others] = ways.map(({ units }) => units!);
      const bits = await run(device, task, first);
      for (const division of others) assertEquals(await run(device, task, division), bits, JSON.stringify(division));
    }
  });
});
