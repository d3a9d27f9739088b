import { isHost } from "../../../core/device_kind.ts";
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import type { Device, StagingKind } from "../../../kernels/device/device.ts";
import { openDevice } from "../../../kernels/device/providers.ts";
import { WrittenStaging } from "../../../kernels/device/staging/written_staging.ts";
import { describeOnDevices } from "../../support/devices.ts";

describeOnDevices("staging", (kind) => {
  for (const staging of isHost(kind) ? [undefined] : ["mapped", "written"] as const) {
    it(`takes more bytes to the device than its blocks hold${staging === undefined ? "" : `, ${staging}`}`, async () => {
      const device = await open(staging);
      const [first, second] = [device.createBuffer("first", 512), device.createBuffer("second", 64)];
      const blocks = device.createStaging(64, 2);
      // Several at a time, so that each block is used again.
      await Promise.all(Array.from({ length: 8 }, async (_, i) => {
        const block = await blocks.take();
        block.memory.fill(i + 1);
        block.copy([
          { from: 0, buffer: first, to: i * 64, bytes: 48 },
          ...(i === 7 ? [{ from: 48, buffer: second, to: 12, bytes: 16 }] : []),
        ]);
      }));
      await blocks.close();
      const expected = Array.from({ length: 512 }, (_, at) => at % 64 < 48 ? Math.floor(at / 64) + 1 : 0);
      assertEquals(await contents(device, first), expected);
      assertEquals(await contents(device, second), Array.from({ length: 64 }, (_, at) => at >= 12 && at < 28 ? 8 : 0));
      await device.close();
    });

    it(`copies before what is submitted later${staging === undefined ? "" : `, ${staging}`}`, async () => {
      const device = await open(staging);
      const buffer = device.createBuffer("b", 16);
      const blocks = device.createStaging(16, 1);
      for (const value of [1, 2, 3]) {
        const block = await blocks.take();
        block.memory.fill(value);
        block.copy([{ from: 0, buffer, to: 0, bytes: 16 }]);
        assertEquals(await contents(device, buffer), new Array(16).fill(value));
      }
      await blocks.close();
      await device.close();
    });
  }

  async function open(staging: StagingKind | undefined): Promise<Device> {
    return (await openDevice(kind, { dawn: Deno.env.get("LATENTMESH_DAWN"), validate: true, staging })).device;
  }
});

describe("blocks", () => {
  it("tell whoever waits for one that the device has failed", async () => {
    const failed = Promise.withResolvers<void>();
    const blocks = new WrittenStaging({ write() {}, settle: () => failed.promise }, 16, 1);
    (await blocks.take()).copy([]);
    const waiting = blocks.take();
    failed.reject(new Error("the device was lost"));
    await assertRejects(() => waiting, Error, "lost");
    await assertRejects(() => blocks.take(), Error, "lost");
    await blocks.close();
  });
});

async function contents(device: Device, buffer: ReturnType<Device["createBuffer"]>): Promise<number[]> {
  const readback = await device.createReadback("contents", buffer.bytes);
  device.read(readback, buffer, 0, buffer.bytes);
  device.submit();
  const bytes = [...await readback.take()];
  readback.destroy();
  return bytes;
}
