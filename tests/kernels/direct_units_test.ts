import { afterAll, beforeAll } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { matrixLayout } from "../../core/model/packing.ts";
import type { Device } from "../../kernels/device.ts";
import { type DirectDivision, directUnits, fitsDirectUnits } from "../../kernels/linear/direct_units.ts";
import { itemsPerInput, type Select } from "../../kernels/linear/select.ts";
import { assertClose } from "../support/compare.ts";
import { describeOnDevices, itOnUnits, openTestDevice, unitsOf } from "../support/devices.ts";
import { expectedOf, makeTask, runTask, type Task } from "../support/linear_task.ts";
import { Random } from "../support/random.ts";

const TOLERANCE = 1e-3;
const COLUMNS = 256;
const BASE: DirectDivision = { columnParts: 2, outputParts: 2, outputTiles: 1, items: 16, round: 4, weights: "rows", inputs: "staged" };

/** Rows of 2 bytes per value, as matrices of 16 × 16 after each other. */
function tiled(rows: Uint16Array<ArrayBuffer>, columns: number): Uint16Array<ArrayBuffer> {
  return rows.map((_, i) => {
    const [tile, row, column] = [Math.floor(i / 256), Math.floor(i % 256 / 16), i % 16];
    const across = columns / 16;
    return rows[(Math.floor(tile / across) * 16 + row) * columns + tile % across * 16 + column];
  });
}

/** The same with inputs in f16, 64 rows at a time, and both as a division takes them. */
function asTaken({ config, items, weights, x, ...task }: Task, division: DirectDivision): Task {
  const { columns } = config.layout;
  const rows = Math.ceil(items / itemsPerInput(config.select) / 64) * 64;
  const rounded = Float16Array.from({ length: rows * columns }, (_, i) => x[Math.floor(i / columns) * config.inputStride + i % columns] ?? 0);
  const halves = new Uint16Array(rounded.buffer);
  const { packed } = weights;
  const data = new Uint16Array(packed.data.slice().buffer);
  return {
    ...task,
    items,
    config: { ...config, input: "rounded" },
    x: new Float32Array((division.inputs === "tiles" ? tiled(halves, columns) : halves).buffer),
    weights: { ...weights, packed: { ...packed, data: division.weights === "tiles" ? new Uint8Array(tiled(data, columns).buffer) : packed.data } },
  };
}

describeOnDevices("linear layers of decode from where weights lie", (kind) => {
  let device: Device;
  beforeAll(async () => void (device = unitsOf(await openTestDevice(kind))));
  afterAll(() => device.close());
  const test = itOnUnits(kind);
  const run = (task: Task, division: DirectDivision, adds = false) =>
    runTask(device, directUnits, { division, mostItems: task.items }, task, {}, adds);

  test("multiply items of one matrix, however it is divided", async () => {
    const select: Select = { kind: "all" };
    const task = makeTask(new Random(), { layout: matrixLayout("f16", COLUMNS), outputs: 80, rows: 19, select });
    const few = { ...task, items: 3 };
    let all: Uint32Array | null = null;
    for (
      const division of [
        BASE,
        { ...BASE, weights: "tiles" },
        { ...BASE, outputTiles: 2, round: 2, items: 32 },
        { ...BASE, outputParts: 1, inputs: "rows" },
        { ...BASE, outputTiles: 3, outputParts: 1, round: 8, inputs: "tiles", weights: "tiles", items: 64 },
      ] as const
    ) {
      assert(fitsDirectUnits({ ...asTaken(task, division).config, division, mostItems: 19 }, device.limits.maxWorkgroupBytes));
      const bits = await run(asTaken(task, division), division);
      assertClose(new Float32Array(bits.buffer), expectedOf(task), TOLERANCE, JSON.stringify(division));
      assertEquals(bits, all ??= bits);
      assertEquals(await run(asTaken(few, division), division), all.subarray(0, 240));
    }
    assertEquals(await run(task, BASE), all!, "of inputs that are rounded here");
  });

  test("multiply those of experts", async () => {
    for (const select of [{ kind: "expert", perInput: 2 }, { kind: "expert", perInput: 1 }] as const) {
      const shape = { layout: matrixLayout("f16", COLUMNS), outputs: 48, experts: 3, active: 2, rows: 30, select } as const;
      const task = makeTask(new Random(), { ...shape, input: select.perInput === 1 ? "gated" : "plain" });
      const bits = await run(task, BASE);
      assertClose(new Float32Array(bits.buffer), expectedOf(task), TOLERANCE, "experts");
      if (task.config.input === "plain") assertEquals(await run(asTaken(task, { ...BASE, weights: "tiles" }), { ...BASE, weights: "tiles" }), bits);
      assertEquals(await run({ ...task, items: 2 }, BASE), bits.subarray(0, 96));
    }
  });
});
