/**
 * The device that a bench is told to measure.
 *
 * @module
 */
import { DEVICE_CHOICES, type DeviceChoice } from "../../core/device_kind.ts";
import { withDawn } from "../../cluster/config/fetched_dawn.ts";
import type { Device } from "../../kernels/device/device.ts";
import { openDevice, type OpenDeviceOptions } from "../../kernels/device/providers.ts";

/** What was given to `--device`. @throws {Error} if there is no such device */
function deviceChoice(given: string): DeviceChoice {
  const choice = DEVICE_CHOICES.find((choice) => choice === given);
  if (choice === undefined) throw new Error(`--device must be one of ${DEVICE_CHOICES.join(", ")}, not "${given}"`);
  return choice;
}

/** Opens it, with Dawn from where `LATENTMESH_DAWN` says, or from where `serve` has it. The caller closes it. @throws {Error} as {@link deviceChoice} does */
export async function openBenchDevice(given: string, options: Omit<OpenDeviceOptions, "dawn"> = {}): Promise<Device> {
  const { device, dawn } = await withDawn({ device: deviceChoice(given), dawn: Deno.env.get("LATENTMESH_DAWN") });
  return (await openDevice(device, { dawn, ...options })).device;
}
