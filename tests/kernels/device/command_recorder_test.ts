import { isHost } from "../../../core/device_kind.ts";
import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import type { Device } from "../../../kernels/device/device.ts";
import { garbageCollector } from "../../../kernels/device/pace_dawn.ts";
import { Accumulators, type Add, foreseen, ROWS } from "../../support/accumulators.ts";
import { absence, describeOnDevices, openDenoDevice, openTestDevice } from "../../support/devices.ts";
import { itOnNull, openNullDevice } from "../../support/null_device.ts";
import { Random } from "../../../bench/support/random.ts";

describeOnDevices("recorded commands", (kind) => {
  let device: Device;
  // As it serves: what is anticipated may name buffers that are gone, with nobody to check them.
  beforeAll(async () => void (device = await openTestDevice(kind, {}, false)));
  afterAll(() => device.close());
  /** On the CPU nothing is encoded. */
  const expected = (...counts: readonly [number, number]) => isHost(kind) ? [0, 0] : counts;

  it("are encoded ahead when they are anticipated, and do the same", async () => {
    const state = await Accumulators.create(device);
    const commands: Add[] = [[0, 3], [1, 2], [0, 1]];
    const counts = await foreseen(device, async () => {
      for (let step = 0; step < 10; step++) {
        state.add(...commands);
        state.end(step % 2);
        state.anticipate(commands, 1 - step % 2);
        await state.check(step % 2);
      }
    });
    assertEquals(counts, expected(9, 0));
    state.destroy();
  });

  it("are encoded after all when others come than were anticipated", async () => {
    const state = await Accumulators.create(device);
    const said: Add[] = [[0, 3], [1, 3]];
    const other: [Add[], number][] = [[[[0, 3], [1, 1]], 0], [[[0, 3]], 0], [said, 1], [[[1, 3]], 0], [[], 0]];
    for (const [commands, which] of other) {
      const counts = await foreseen(device, async () => {
        state.reset();
        state.anticipate(said, 0);
        await state.run(commands, which);
        await state.run(said);
      });
      assertEquals(counts, expected(0, 1), `${commands}`);
    }
    const counts = await foreseen(device, async () => {
      state.reset();
      state.anticipate(said, null);
      await state.run([...said, [0, 1]]);
    });
    assertEquals(counts, expected(1, 0), "all that was said has come");
    state.destroy();
  });

  it("run in pieces when they are many, and differ from what was anticipated at any place", async () => {
    const state = await Accumulators.create(device);
    const long = Array.from({ length: 150 }, (_, i): Add => [i % 2, 1 + i % 3]);
    const run = async (commands: readonly Add[], ahead: number) => {
      state.reset();
      state.anticipate(long, 0);
      assertEquals(await foreseen(device, () => state.run(commands)), expected(ahead, 1 - ahead), `${commands.length} commands`);
    };
    await run(long, 1);
    // Pieces begin at commands 0, 32 and 128; the copy is one more command.
    for (const place of [0, 1, 31, 32, 33, 100, 127, 128, 129, 149]) {
      await run(long.map(([to, rows], i): Add => [i === place ? 1 - to : to, rows]), 0);
      await run(long.slice(0, place), 0);
    }
    await run(long, 1);
    state.destroy();
  });

  it("end where a piece ends", async () => {
    const state = await Accumulators.create(device);
    const commands = Array.from({ length: 60 }, (_, i): Add => [i % 2, 2]);
    for (const [count, said] of [[60, 60], [32, 60], [32, 32]]) {
      state.reset();
      state.anticipate(commands.slice(0, said), null);
      state.add(...commands.slice(0, count));
      // Everything that came is on its way already.
      device.submit();
      await state.run([]);
    }
    state.destroy();
  });

  it("go out in pieces when they were not expected, and are timed in one", async () => {
    const state = await Accumulators.create(device);
    // Seldom enough to the second that sums stay finite.
    const add = (count: number) => state.add(...Array.from({ length: count }, (_, i): Add => [i % 10 === 9 ? 1 : 0, 1 + i % 3]));
    // A piece has 96; the copy is one more command.
    for (const count of [94, 95, 96, 97, 191, 192, 300]) {
      state.reset();
      add(count);
      await state.run([]);
    }
    state.reset();
    state.anticipate([[0, 1]], null);
    const ms = await device.measure(() => add(300));
    assert(ms >= 0);
    await state.run([], 1);
    assert(state.expected[1].every(Number.isFinite));
    state.destroy();
  });

  it("change nothing by being anticipated", async () => {
    const state = await Accumulators.create(device);
    const before = { ...device.counters };
    for (let i = 0; i < 3; i++) {
      device.anticipate(() => {
        state.reset();
        device.run(state.adds[0], { rows: 3 });
        // Fewer bytes than are read next.
        device.read(state.readback, state.buffers[0], 0, 16);
        device.submit();
      });
    }
    assertEquals({ ...device.counters, encodeMs: 0 }, { ...before, encodeMs: 0 });
    await state.run([[1, 2]], 1);
    // While something is recorded, nothing is anticipated.
    state.add([0, 3]);
    state.anticipate([[0, 3]], 0);
    await state.run([]);
    state.destroy();
  });

  it("are as ever after what was anticipated could not be recorded", async () => {
    const state = await Accumulators.create(device);
    if (!isHost(kind)) {
      await assertRejects(async () => await state.anticipate([[0, 3], [0, ROWS + 1]], 0), LatentmeshError, `rows = ${ROWS + 1}`);
    }
    await state.run([[0, 3], [1, 3]]);
    state.destroy();
  });

  it("may be anticipated for buffers that are gone, if nobody asks for them", async () => {
    const [lasting, passing] = [await Accumulators.create(device), await Accumulators.create(device)];
    lasting.add([0, 3]);
    lasting.end(0);
    passing.anticipate([[0, 3]], 0);
    await lasting.check(0);
    passing.destroy();
    await lasting.run([[0, 3]]);
    await device.settle();
    lasting.destroy();
  });

  it("do what was asked, whatever was anticipated", async () => {
    const random = new Random();
    const state = await Accumulators.create(device);
    const programs: readonly Add[][] = [[[0, 3]], [[0, 3], [1, 3]], [[0, 3], [1, 2], [0, 1]], [[1, 1]]];
    const [ahead, unforeseen] = await foreseen(device, async () => {
      for (let step = 0; step < 60; step++) {
        if (step % 5 === 0) state.reset();
        const program = programs[random.below(4)];
        if (random.below(4) > 0) state.anticipate(random.below(3) > 0 ? program : programs[random.below(4)], random.below(4) > 0 ? 0 : null);
        await state.run(program);
      }
    });
    assert(isHost(kind) || ahead > 10 && unforeseen > 3, `${ahead} foreseen, ${unforeseen} not`);
    state.destroy();
  });
});

describe("recorded commands that change", () => {
  itOnNull("are not kept", async () => {
    const { device } = await openNullDevice();
    const rows = 10_000;
    const state = await Accumulators.create(device, rows);
    const collect = garbageCollector();
    const heap = () => {
      for (let i = 0; i < 2; i++) collect();
      return Deno.memoryUsage().heapUsed;
    };
    // What follows a submission like no other once was all kept with it.
    device.run(state.adds[1], { rows: 1 });
    state.end(1);
    await state.readback.take();
    const random = new Random();
    const commands = () => Array.from({ length: 20 }, (_, i): Add => [i % 2, 1 + random.below(rows)]);
    const run = async (steps: number) => {
      for (let step = 0, next = commands(); step < steps; step++) {
        for (const [to, rows] of next) device.run(state.adds[to], { rows });
        state.end(0);
        next = commands();
        // One in eight is not what was said.
        state.anticipate(step % 8 === 0 ? commands() : next, 0);
        await state.readback.take();
      }
    };
    await run(500);
    const before = heap();
    const [ahead, unforeseen] = await foreseen(device, () => run(10_000));
    const grown = (heap() - before) / 2 ** 20;
    assert(grown < 4, `${grown} MiB are kept`);
    assertEquals([ahead, unforeseen], [8749, 1251]);
    state.destroy();
    await device.close();
  });
});

describe("more parameters than fit", () => {
  const SLOTS = 8;
  const random = new Random();
  /** Of 1 to 40 rows: 40 different parameters. */
  const commands = Array.from({ length: 300 }, (_, i): Add => [i % 20 === 19 ? 1 : 0, 1 + random.below(40)]);

  (absence("deno") === null ? it : it.skip)("go out in pieces", async () => {
    const { device, gpu } = await openDenoDevice({ uniforms: { slots: SLOTS } });
    const state = await Accumulators.create(device, 40);
    for (const count of [SLOTS, 100, 300]) {
      state.reset();
      await state.run(commands.slice(0, count));
    }
    // What is anticipated ends where they are full.
    for (const count of [SLOTS, 40, 300]) {
      state.reset();
      state.anticipate(commands.slice(0, count), 0);
      assertEquals(await foreseen(device, () => state.run(commands.slice(0, count))), [1, 0]);
    }
    state.reset();
    state.anticipate(commands, 0);
    await state.run([...commands.slice(0, 60), [1, 1], ...commands.slice(60)]);
    // One pass is one piece. Without a clock of its own, a device is timed from outside.
    await device.measure(() => state.add(...commands.slice(0, 5)));
    const many = Array.from({ length: SLOTS + 1 }, (_, i): Add => [0, 1 + i]);
    if (gpu.features.has("timestamp-query")) {
      await assertRejects(() => device.measure(() => state.add(...many)), LatentmeshError, "so many different parameters");
    }
    state.reset();
    await state.run(commands);
    state.destroy();
    await device.close();
  });

  itOnNull("are no more than a piece when there are a hundred thousand", async () => {
    const { device } = await openNullDevice();
    const state = await Accumulators.create(device, 100_000);
    for (let rows = 1; rows <= 100_000; rows++) device.run(state.adds[0], { rows });
    state.end(0);
    await state.readback.take();
    assertEquals(device.counters.dispatches, 100_000);
    state.destroy();
    await device.close();
  });
});
