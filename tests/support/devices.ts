/**
 * Every device this machine can test on. The same suites run on all of them; what is absent is reported as skipped, by name.
 *
 * @module
 */
import { isHost } from "../../core/device_kind.ts";
import { describe, it } from "@std/testing/bdd";
import { messageOf } from "../../core/errors.ts";
import { type Device, type DeviceKind, type DeviceLimits, PLAIN_FEATURES } from "../../kernels/device/device.ts";
import { GpuDevice } from "../../kernels/device/gpu_device.ts";
import type { GpuDeviceOptions } from "../../kernels/device/gpu_parts.ts";
import { openDevice } from "../../kernels/device/providers.ts";
import { ADAPTER, LEFT_OUT, WHOLE } from "./extent.ts";
import { EmulatedDevice } from "./wgsl/emulated_device.ts";

/** Kinds that are tested, in this order. */
export const DEVICES: readonly DeviceKind[] = ["cpu", "wasm", "deno", "dawn"];

/** Dawn is tested where `LATENTMESH_DAWN` says where it is. */
const DAWN = Deno.env.get("LATENTMESH_DAWN");

/** Opens a device for a test; the caller closes it. @param validate whether Dawn checks every command, which it does not where it serves */
export async function openTestDevice(kind: DeviceKind, limits?: Partial<DeviceLimits>, validate = true): Promise<Device> {
  return (await openDevice(kind, { dawn: DAWN, limits, validate })).device;
}

/** Deno's WebGPU with nothing beyond the standard but timestamps, and what is behind the device. The caller closes it. */
export async function openDenoDevice(options: Partial<GpuDeviceOptions> = {}): Promise<{ device: GpuDevice; gpu: GPUDevice }> {
  const adapter = (await navigator.gpu.requestAdapter())!;
  const { maxStorageBuffersPerShaderStage } = adapter.limits;
  const gpu = await adapter.requestDevice({
    requiredFeatures: (["timestamp-query"] as const).filter((feature) => adapter.features.has(feature)),
    requiredLimits: { maxStorageBuffersPerShaderStage },
  });
  return { device: new GpuDevice(gpu, { kind: "deno", description: "test", polling: null, features: PLAIN_FEATURES, ...options }), gpu };
}

/** Runs a suite once per device. */
export function describeOnDevices(name: string, suite: (kind: DeviceKind) => void): void {
  describe(name, () => {
    for (const kind of DEVICES) {
      const absent = absence(kind);
      if (absent === null) describe(`on ${kind}`, () => suite(kind));
      else it.skip(`on ${kind}: skipped, ${absent}`);
    }
  });
}

/** The same for what computes with whole models, which takes the plain references of `cpu` long: there only where everything is tested. */
export function describeModelsOnDevices(name: string, suite: (kind: DeviceKind) => void): void {
  describeOnDevices(name, (kind) => {
    if (kind !== "cpu" || WHOLE) suite(kind);
    else it.skip(LEFT_OUT);
  });
}

/** What Dawn has here: matrix units or not; or why it cannot be opened. */
const dawn: { readonly matrixUnits: boolean } | { readonly absent: string } = DAWN === undefined
  ? { absent: "LATENTMESH_DAWN is not set" }
  : await openTestDevice("dawn").then(async (device) => {
    const { matrixUnits } = device.features;
    await device.close();
    return { matrixUnits };
  }, (error) => ({ absent: messageOf(error) }));

/** Why a device cannot be tested here; null if it can. */
export function absence(kind: DeviceKind): string | null {
  if (kind === "dawn") return "absent" in dawn ? dawn.absent : null;
  if (kind === "deno") return ADAPTER === null ? "no GPU driver" : null;
  return null;
}

/** Name of the adapter behind `deno`, for the report. */
export const adapterName: string = ADAPTER === null ? "none" : ADAPTER.info.description || ADAPTER.info.device;

/** Whether a GPU is one in name only. */
export function isSoftware(kind: DeviceKind): boolean {
  return !isHost(kind) && /llvmpipe|lavapipe|swiftshader/i.test(adapterName);
}

/** For tests of kernels as they are served, which take a software driver minutes to compile: skipped there, by name. */
export function itOnHardware(kind: DeviceKind): (name: string, body: () => Promise<void>) => void {
  if (!isSoftware(kind)) return it;
  return (name) => it.skip(`${name}: skipped, a software driver`);
}

/** For tests of kernels on matrix units, which are skipped, by name, on GPUs without them; on the CPU their references run, or they are emulated, see {@link unitsOf}. */
export function itOnUnits(kind: DeviceKind): (name: string, body: () => Promise<void>) => void {
  if (kind === "cpu" || kind === "dawn" && "matrixUnits" in dawn && dawn.matrixUnits) return it;
  return (name) => it.skip(`${name}: skipped, no matrix units`);
}

/** The device itself if it has matrix units, or one that emulates them beside the CPU. */
export function unitsOf(device: Device): Device {
  return device.kind === "cpu" ? new EmulatedDevice(device.limits) : device;
}
