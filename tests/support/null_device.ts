/**
 * Dawn's null backend: it takes every command, checks shaders, and computes nothing. What the host does can be tested and timed on it. It has 512 MiB.
 *
 * @module
 */
import { PLAIN_FEATURES } from "../../kernels/device.ts";
import { GpuDevice } from "../../kernels/gpu_device.ts";
import { paceDawn } from "../../kernels/pace_dawn.ts";

/** Dawn segfaults when its GPU object is collected while devices live. */
const instances: GPU[] = [];

/** A device that computes nothing, and what is behind it; `LATENTMESH_DAWN` must say where Dawn is. The caller closes it. */
export async function openNullDevice(): Promise<{ device: GpuDevice; gpu: GPUDevice }> {
  const looks = paceDawn();
  if (instances.length === 0) {
    const { create, globals } = await import(new URL(Deno.env.get("LATENTMESH_DAWN")!, `file://${Deno.cwd()}/`).href);
    for (const [name, value] of Object.entries(globals)) if (!(name in globalThis)) Object.assign(globalThis, { [name]: value });
    instances.push(create(["backend=null", "enable-dawn-features=allow_unsafe_apis,skip_validation"]));
  }
  const adapter = (await instances[0].requestAdapter())!;
  const { maxStorageBufferBindingSize, maxBufferSize, maxStorageBuffersPerShaderStage, maxComputeWorkgroupStorageSize } = adapter.limits;
  const requiredLimits = { maxStorageBufferBindingSize, maxBufferSize, maxStorageBuffersPerShaderStage, maxComputeWorkgroupStorageSize };
  const gpu = await adapter.requestDevice({ requiredLimits });
  return { device: new GpuDevice(gpu, { kind: "dawn", description: "Dawn's null backend", looks, features: PLAIN_FEATURES }), gpu };
}
