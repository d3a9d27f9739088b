import { afterAll, beforeAll, describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import type { Device, DeviceBuffer, Readback } from "../../../kernels/device/device.ts";
import { MeasuringDevice } from "../../../kernels/device/measuring_device.ts";
import { absence, describeOnDevices, openDenoDevice, openTestDevice } from "../../support/devices.ts";
import { itOnNull, nullAbsence, openNullDevice } from "../../support/null_device.ts";
import { Random } from "../../../bench/support/random.ts";

const WORDS = 64;

/** A buffer whose words change, read back in either way. */
class Cell {
  readonly #device: Device;
  readonly #buffer: DeviceBuffer;
  readonly readback: Readback;
  #value = 0;

  constructor(device: Device, readback: Readback) {
    this.#device = device;
    this.readback = readback;
    this.#buffer = device.createBuffer("cell", WORDS * 4);
  }

  /** Submits a copy of the first `words` words of a new value; what they should be. */
  start(words = WORDS): Uint32Array<ArrayBuffer> {
    const expected = new Uint32Array(WORDS).fill(++this.#value);
    this.#device.write(this.#buffer, 0, expected);
    this.#device.read(this.readback, this.#buffer, 0, words * 4);
    this.#device.submit();
    return expected.subarray(0, words);
  }

  destroy(): void {
    this.#buffer.destroy();
    this.readback.destroy();
  }
}

function wordsOf(bytes: Uint8Array<ArrayBuffer>): Uint32Array {
  return new Uint32Array(bytes.slice().buffer);
}

describeOnDevices("readback", (kind) => {
  let device: Device;
  let cell: Cell;
  beforeAll(async () => {
    device = await openTestDevice(kind);
    cell = new Cell(device, await device.createReadback("cell", WORDS * 4));
  });
  afterAll(async () => {
    cell.destroy();
    await device.close();
  });

  it("gives the same bytes whether it is awaited or not, in any order", async () => {
    const random = new Random();
    let now = 0;
    for (let i = 0; i < 60; i++) {
      const expected = cell.start(1 + random.below(WORDS));
      const into = random.below(2) === 0 ? undefined : new Uint8Array(WORDS * 4);
      const bytes = random.below(3) === 0 ? null : cell.readback.takeNow(into);
      if (bytes !== null) now++;
      const taken = bytes ?? await cell.readback.take(into);
      assertEquals(wordsOf(taken), expected);
      if (into !== undefined) assert(taken.buffer === into.buffer, "the bytes are where they were to go");
    }
    // A software driver may take longer than is waited for.
    assert(now > 0, "some were there at once");
  });

  it("is taken many times in one turn of the event loop, beside another", async () => {
    const other = new Cell(device, await device.createReadback("other", WORDS * 4));
    for (let i = 0; i < 60; i++) {
      for (const each of [cell, other]) {
        const expected = each.start();
        assertEquals(wordsOf(each.readback.takeNow() ?? await each.readback.take()), expected);
      }
    }
    other.destroy();
    await device.settle();
  });
});

describe("readback that is waited for without the event loop", () => {
  itOnNull("comes on Dawn before any promise settles", async () => {
    const { device } = await openNullDevice();
    const cell = new Cell(device, await device.createReadback("cell", WORDS * 4));
    for (let i = 0; i < 100; i++) {
      let settled = false;
      void Promise.resolve().then(() => settled = true);
      cell.start();
      assert(cell.readback.takeNow() !== null);
      assert(!settled);
      if (i % 10 === 0) await null;
    }
    // Whoever waits for something else meanwhile is told, too.
    const settling = device.settle();
    cell.start();
    assert(cell.readback.takeNow() !== null);
    await settling;
    cell.destroy();
    await device.close();
  });

  for (const kind of ["deno", "dawn"] as const) {
    ((kind === "dawn" ? nullAbsence : absence(kind)) === null ? it : it.skip)(
      `is told apart from a failure on ${kind}: awaiting it says that the device was lost`,
      async () => {
        const { device, gpu } = kind === "dawn" ? await openNullDevice() : await openDenoDevice();
        const cell = new Cell(device, await device.createReadback("cell", WORDS * 4));
        cell.start();
        assert((cell.readback.takeNow() ?? await cell.readback.take()).byteLength === WORDS * 4);
        cell.start();
        gpu.destroy();
        assertEquals(cell.readback.takeNow(), null);
        const error = await assertRejects(() => cell.readback.take(), LatentmeshError, "was lost");
        assertEquals(error.code, "device_lost");
        assertEquals((await device.lost).code, "device_lost");
        await device.close();
      },
    );
  }

  it("is nothing but memory on a device that only counts", async () => {
    const readback = await new MeasuringDevice().createReadback("cell", 16);
    assertEquals(readback.takeNow(), new Uint8Array(16));
  });
});
