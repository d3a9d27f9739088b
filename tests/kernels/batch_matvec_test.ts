import { isHost } from "../../core/device_kind.ts";
import { afterAll, beforeAll, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { matrixLayout } from "../../core/model/packing.ts";
import type { Device } from "../../kernels/device/device.ts";
import { type BatchDivision, batchMatvec } from "../../kernels/linear/batch_matvec.ts";
import { decodeWays } from "../../kernels/linear/choose.ts";
import { matvec } from "../../kernels/linear/matvec.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, itOnHardware, openTestDevice } from "../support/devices.ts";
import { type Bound, expectedOf, makeTask, routesOf, runTask, type Task } from "../support/linear_task.ts";
import { ALL_STORED } from "../support/matrices.ts";
import { Random, SEED } from "../../bench/support/random.ts";

/** As much as a software driver compiles in seconds. */
const SMALL: BatchDivision = { threads: 64, passLanes: 8, outputsEach: 2, itemTeams: 1, itemsEach: [2] };
/** Teams of items, passes of two folds of lanes or of all lanes, sums that take turns or do not, several numbers of items, not only powers of two. */
const OTHERS: readonly BatchDivision[] = [
  { threads: 64, passLanes: 16, outputsEach: 1, itemTeams: 2, itemsEach: [1, 3] },
  { threads: 128, passLanes: 64, outputsEach: 2, itemTeams: 1, itemsEach: [3] },
];

/** By `matvec`, which has no division, or in tiles. */
async function run(device: Device, task: Task, division: BatchDivision | null, bound: Bound = {}, adds = false): Promise<Uint32Array<ArrayBuffer>> {
  if (division === null) return await runTask(device, matvec, { itemsAtOnce: 1 }, task, bound, adds);
  return await runTask(device, batchMatvec, { division, mostItems: task.items }, task, bound, adds);
}

describeOnDevices("linear layers of several rows", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = await openTestDevice(kind)));
  afterAll(() => device.close());

  for (const [format, scaling] of ALL_STORED) {
    it(`give each row the bits that it has alone, ${format} ${scaling ?? ""}`, async () => {
      const random = new Random();
      for (
        const shape of [
          // Whole vectors whose last round is not whole; rows of any size, which are read alike in all formats, with scales that change within a vector.
          { columns: 1312, outputs: 37, rows: 5, input: "plain" },
          ...(format === "bf16" || format === "fp8" || scaling === "f16-zero" ? [{ columns: 69, outputs: 7, rows: 3, input: "gated" }] as const : []),
        ] as const
      ) {
        const task = makeTask(random, {
          ...shape,
          layout: matrixLayout(format, shape.columns, shape.columns === 69 ? 20 : 32, scaling),
          select: { kind: "all" },
        });
        const together = await run(device, task, SMALL);
        assertEquals(together, await run(device, task, null), `${shape.columns} columns`);
        assertClose(
          new Float32Array(together.buffer),
          expectedOf(task, kind === "wasm" && (format === "q8" || format === "q4")),
          1e-5,
          `${shape.columns} columns`,
        );
      }
    });
  }

  it("give them in parts of the outputs, added to what is there, and none of no rows", async () => {
    const task = makeTask(new Random(), { layout: matrixLayout("bf16", 304), outputs: 50, rows: 5, select: { kind: "all" }, input: "gated" });
    const part = { firstOutput: 13, outputs: 29 };
    assertEquals(await run(device, task, SMALL, part), await run(device, task, null, part));
    assertEquals(await run(device, task, SMALL, part, true), await run(device, task, null, part, true));
    assertEquals(await run(device, { ...task, items: 0 }, SMALL), new Uint32Array(0));
  });

  it("give them of all heads, or of those that are bound", async () => {
    const task = makeTask(new Random(), { layout: matrixLayout("q8", 160), outputs: 21, rows: 5, select: { kind: "head", heads: 3 } });
    for (const bound of [{}, { firstMatrix: 1, matrices: 1 }]) {
      assertEquals(await run(device, task, SMALL, bound), await run(device, task, null, bound));
    }
  });

  it("give them of experts, whichever rows have which, all of them or a bank", async () => {
    const random = new Random();
    const [experts, active, most] = [6, 2, 9];
    const layout = matrixLayout("bf16", 72);
    const shape = { layout, outputs: 19, experts, active } as const;
    for (const select of [{ kind: "expert", perInput: active }, { kind: "expert", perInput: 1 }] as const) {
      const all = makeTask(random, { ...shape, rows: most, select, input: select.perInput === 1 ? "gated" : "plain" });
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: 1, max: most }), fc.nat(), fc.boolean(), async (rows, seed, skewed) => {
          const routes = routesOf(new Random(seed), { rows, experts: skewed ? active : experts, active });
          const task = { ...all, items: rows * active, routes };
          for (const bound of [{}, { firstMatrix: 2, matrices: 3 }]) {
            assertEquals(await run(device, task, SMALL, bound), await run(device, task, null, bound));
          }
        }),
        { seed: SEED, numRuns: isHost(kind) ? 20 : 8 },
      );
      assertClose(new Float32Array((await run(device, all, SMALL)).buffer), expectedOf(all), 1e-5, `${select.perInput} items of an input`);
    }
  });

  for (const [i, division] of OTHERS.entries()) {
    it(`give them for any number of rows, divided in another way (${i + 1})`, async () => {
      const random = new Random();
      const all = makeTask(random, { layout: matrixLayout("bf16", 520), outputs: 23, rows: 64, select: { kind: "all" } });
      const alone = await run(device, all, null);
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: 1, max: 64 }), async (rows) => {
          assertEquals(await run(device, { ...all, items: rows }, division), alone.subarray(0, rows * 23), `${rows} rows`);
        }),
        { seed: SEED, numRuns: isHost(kind) ? 20 : 8 },
      );
    });
  }

  // The CPU has one kernel for all divisions.
  for (const [format, scaling] of isHost(kind) ? [] : ALL_STORED) {
    itOnHardware(kind)(`give them in every division that is served, ${format} ${scaling ?? ""}`, async () => {
      const random = new Random();
      for (
        const shape of [
          { outputs: 700, columns: 2048, select: { kind: "all" } },
          { outputs: 16500, columns: 256, select: { kind: "all" } },
          { outputs: 128, columns: 512, select: { kind: "head", heads: 8 } },
          { outputs: 150, columns: 1408, select: { kind: "expert", perInput: 3 }, experts: 12, active: 3 },
        ] as const
      ) {
        const layout = matrixLayout(format, shape.columns, 128, scaling);
        const input = shape.select.kind === "expert" ? "gated" : "plain";
        const task = makeTask(random, { ...shape, layout, input, rows: 37 });
        const alone = await run(device, task, null);
        // As many matrices as make the layer one that tiles are for.
        const ways = decodeWays({ ...shape, layout, matrices: 2 ** 20 }, { rows: 64, units: false, workgroupLimit: device.limits.maxWorkgroupBytes });
        const divisions = ways.flatMap(({ division }) => division ?? []);
        assert(divisions.length > 0);
        for (const division of divisions) {
          assertEquals(await run(device, task, division), alone, `${JSON.stringify(division)} of ${shape.select.kind}`);
        }
      }
    });
  }
});
