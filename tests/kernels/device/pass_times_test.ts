/**
 * Times by the device's own clock, of everything that is submitted.
 */
import { isHost } from "../../../core/device_kind.ts";
import { it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import type { Device, DeviceKind } from "../../../kernels/device/device.ts";
import { openDevice } from "../../../kernels/device/providers.ts";
import { residualAdd } from "../../../kernels/residual_add/residual_add.ts";
import { describeOnDevices } from "../../support/devices.ts";

const [WIDTH, ROWS] = [256, 512];

async function open(kind: DeviceKind, times: boolean): Promise<Device> {
  return (await openDevice(kind, { dawn: Deno.env.get("LATENTMESH_DAWN"), times, validate: true })).device;
}

describeOnDevices("times of passes", (kind) => {
  it("are not kept otherwise", async () => {
    const device = await open(kind, false);
    assertEquals([device.keepsTimes, await device.takeTime()], [false, 0]);
    await device.close();
  });

  it("are kept where they are asked for, of what was encoded ahead, too, and change nothing", async () => {
    const device = await open(kind, true);
    // Not every driver has a clock to ask.
    assert(device.keepsTimes || !isHost(kind));
    const [x, delta] = ["x", "delta"].map((name) => device.createBuffer(name, ROWS * WIDTH * 4));
    device.write(delta, 0, new Float32Array(ROWS * WIDTH).fill(1));
    const add = (await device.compile(residualAdd, { width: WIDTH })).bind({ x, delta }, { rows: ROWS });
    const readback = await device.createReadback("x", 16);
    let added = 0;
    // The same again and again, which is encoded ahead, then more, of which some was encoded ahead in vain.
    for (const times of [3, 3, 3, 3, 5, 3, 40]) {
      for (let i = 0; i < times; i++) device.run(add, { rows: ROWS });
      device.read(readback, x, 0, 16);
      device.submit();
      assertEquals(new Float32Array((await readback.take()).slice().buffer)[3], added += times);
      const ms = await device.takeTime();
      assert(device.keepsTimes ? ms > 0 && ms < 60_000 : ms === 0, `${times} additions took ${ms} ms`);
      assertEquals(await device.takeTime(), 0, "nothing was submitted since");
    }
    await device.close();
  });
});
