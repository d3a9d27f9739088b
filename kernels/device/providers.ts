/**
 * Opens a device by name: `wasm` (the host's processors), `cpu` (the references, which are slow), `deno` (the WebGPU built into Deno), `dawn` (npm's webgpu, from where the caller says) or `auto`.
 *
 * @module
 */
import { INSTALL_DAWN } from "../../core/dawn_package.ts";
import type { DeviceChoice, DeviceTuning } from "../../core/device_kind.ts";
import { LatentmeshError, messageOf } from "../../core/errors.ts";
import { CpuDevice } from "./cpu_device.ts";
import { type AdapterFacts, dawnAdvice } from "./dawn_advice.ts";
import type { Device, DeviceLimits, StagingKind } from "./device.ts";
import { GpuDevice } from "./gpu_device.ts";
import { WasmDevice } from "./wasm/wasm_device.ts";

export type { DeviceChoice } from "../../core/device_kind.ts";

/** An opened device and, in words, why it was taken. */
export interface OpenedDevice {
  readonly device: Device;
  readonly reason: string;
  /** What would make more of this machine, for people; only where the device was not named. */
  readonly advice?: string;
}

/** Options of {@link openDevice}. */
export interface OpenDeviceOptions extends DeviceTuning {
  /** Path or URL of Dawn's module (`LATENTMESH_DAWN`); without one there is no Dawn. */
  readonly dawn?: string;
  /** Smaller limits than the device's own. */
  readonly limits?: Partial<DeviceLimits>;
  /**
   * Whether Dawn checks every command, as tests want. It checks shaders always; checking the rest takes nearly half of encoding (bench/NOTES.md), and what this
   * project encodes was checked when it was bound.
   */
  readonly validate?: boolean;
  /** How weights get to a GPU; `mapped` by default, `written` with software drivers. For tests and benches. */
  readonly staging?: StagingKind;
}

/**
 * Opens a device. `auto` takes a hardware GPU if there is one, through Dawn where its path is given and it offers matrix units, else the CPU: software Vulkan
 * drivers are slower than WebAssembly.
 *
 * @throws {LatentmeshError} `device_unavailable` if the named device is not there
 */
export async function openDevice(choice: DeviceChoice, options: OpenDeviceOptions = {}): Promise<OpenedDevice> {
  switch (choice) {
    case "cpu":
      return { device: new CpuDevice(options.limits, options.times), reason: "asked for by --device cpu" };
    case "wasm":
      return { device: await WasmDevice.open(options), reason: "asked for by --device wasm" };
    case "deno":
      return { device: await openGpu("deno", navigator.gpu, options), reason: "asked for by --device deno" };
    case "dawn":
      return { device: await openGpu("dawn", await loadDawn(options), options), reason: "asked for by --device dawn" };
    case "auto":
      return await openAuto(options);
    default:
      return choice satisfies never;
  }
}

async function openAuto(options: OpenDeviceOptions): Promise<OpenedDevice> {
  let because = (why: string) => why;
  let hasDawn = false;
  if (options.dawn !== undefined) {
    const dawn = await tryDawn(options);
    if ("device" in dawn) return dawn;
    because = (why) => `${why}; ${dawn.problem}`;
    hasDawn = dawn.loaded;
  }
  const host = async (why: string): Promise<OpenedDevice> => ({ device: await WasmDevice.open(options), reason: because(why) });
  const adapter = await requestAdapter(navigator.gpu);
  if (adapter === null) return await host("there is no GPU driver (Vulkan, Metal or DirectX 12)");
  if (isSoftware(adapter)) return await host(`the only GPU driver is a software one (${describe(adapter)}), which is slower than WebAssembly`);
  const device = await openAdapter("deno", adapter, options);
  return { device, reason: because("a hardware GPU"), advice: hasDawn ? undefined : dawnAdvice(adapter.info as AdapterFacts, Deno.build.os) };
}

/** Why Dawn's device is not taken, in words, and whether there is a Dawn at all. */
interface NoDawn {
  readonly loaded: boolean;
  readonly problem: string;
}

/** Dawn's device if it has matrix units, which Deno's has not; else why not. */
async function tryDawn(options: OpenDeviceOptions): Promise<OpenedDevice | NoDawn> {
  let loaded = false;
  try {
    const gpu = await loadDawn(options);
    loaded = true;
    const adapter = await requestAdapter(gpu);
    if (adapter === null || isSoftware(adapter)) return { loaded, problem: "Dawn finds no hardware GPU" };
    if (!hasMatrixUnits(adapter)) return { loaded, problem: "Dawn has no matrix units here" };
    return { device: await openAdapter("dawn", adapter, options), reason: "a hardware GPU, with matrix units through Dawn" };
  } catch (error) {
    return { loaded, problem: messageOf(error) };
  }
}

async function openGpu(kind: "deno" | "dawn", gpu: GPU | undefined, options: OpenDeviceOptions): Promise<GpuDevice> {
  const adapter = await requestAdapter(gpu);
  if (adapter === null) {
    throw new LatentmeshError(
      "device_unavailable",
      kind === "dawn"
        ? 'Cannot open device "dawn": Dawn offers no GPU here. It needs a driver for Vulkan, Metal or DirectX 12, and refuses most software ones. See "deno task doctor", or use --device auto.'
        : `Cannot open device "${kind}": no GPU driver was found. Install one (on Debian: apt install mesa-vulkan-drivers for a software one) or use --device auto.`,
    );
  }
  return await openAdapter(kind, adapter, options);
}

async function requestAdapter(gpu: GPU | undefined): Promise<GPUAdapter | null> {
  return gpu === undefined ? null : await gpu.requestAdapter({ powerPreference: "high-performance" });
}

async function openAdapter(kind: "deno" | "dawn", adapter: GPUAdapter, options: OpenDeviceOptions): Promise<GpuDevice> {
  const { limits } = adapter;
  const matrixUnits = hasMatrixUnits(adapter);
  const request = (features: readonly GPUFeatureName[]) =>
    adapter.requestDevice({
      requiredFeatures: [...(["timestamp-query"] as const).filter((feature) => adapter.features.has(feature)), ...features],
      requiredLimits: {
        maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
        maxBufferSize: limits.maxBufferSize,
        maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
        maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
        maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
        maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
      },
    });
  const least = adapter.info.subgroupMinSize ?? 0;
  // Loaded when needed: what it takes of Node is long to start with.
  const polling = kind === "dawn" ? (await import("./pace_dawn.ts")).paceDawn() : null;
  const opened = (gpu: GPUDevice, subgroups: number) =>
    new GpuDevice(gpu, {
      kind,
      description: describe(adapter),
      polling,
      limits: options.limits,
      times: options.times,
      // Whoever awaits a mapping turns the event loop meanwhile, on a core that a software driver needs for the copy.
      staging: options.staging ?? (isSoftware(adapter) ? "written" : "mapped"),
      features: { matrixUnits, subgroups },
    });
  if (matrixUnits) return opened(await request(MATRIX_FEATURES), least);
  if (kind === "deno" && least > 0) {
    try {
      // Deno does not list them, but gives them where they are asked for by name.
      return opened(await request(["subgroups" as GPUFeatureName]), least);
    } catch {
      // This driver has none. The adapter is as it was.
    }
  }
  return opened(await request([]), 0);
}

/** What matrix units need, of which the type definitions do not know the last. */
export const MATRIX_FEATURES: readonly GPUFeatureName[] = ["shader-f16", "subgroups", "chromium-experimental-subgroup-matrix" as GPUFeatureName];

/** Shapes that an adapter's matrix units multiply, as Dawn lists them. */
interface MatrixUnitsInfo {
  readonly subgroupMinSize?: number;
  readonly subgroupMaxSize?: number;
  readonly subgroupMatrixConfigs?: Iterable<Readonly<Record<"M" | "N" | "K", number> & Record<"componentType" | "resultComponentType", string>>>;
}

function hasMatrixUnits(adapter: GPUAdapter): boolean {
  const { subgroupMinSize, subgroupMaxSize, subgroupMatrixConfigs = [] } = adapter.info as MatrixUnitsInfo;
  return MATRIX_FEATURES.every((feature) => adapter.features.has(feature)) && subgroupMinSize === 32 && subgroupMaxSize === 32 &&
    Array.from(subgroupMatrixConfigs).some(({ componentType, resultComponentType, M, N, K }) =>
      componentType === "f16" && resultComponentType === "f32" && M === 16 && N === 16 && K === 16
    );
}

function describe(adapter: GPUAdapter): string {
  const { description, device, vendor, architecture } = adapter.info;
  return description || device || [vendor, architecture].filter(Boolean).join(" ") || "unnamed adapter";
}

function isSoftware(adapter: GPUAdapter): boolean {
  return adapter.info.isFallbackAdapter || /llvmpipe|lavapipe|swiftshader|software/i.test(describe(adapter));
}

/** A URL or package stays as it is; anything else is a file, seen from the working directory. */
function moduleSpecifier(path: string): string {
  return /^(?:[a-z]+:)/.test(path) ? path : new URL(path, `file://${Deno.cwd()}/`).href;
}

/** Dawn segfaults when its GPU object is collected while devices live, so it is kept for the life of the process. */
const dawnInstances = new Map<string, GPU>();

/** Every binding is checked when it is bound, and what kernels index is bounded by construction; checks at each access take most of their time. */
const TOGGLES = ["allow_unsafe_apis", "vulkan_enable_f16_on_nvidia", "disable_robustness"];

async function loadDawn({ dawn: path, validate = false }: OpenDeviceOptions): Promise<GPU> {
  if (path === undefined) {
    throw new LatentmeshError("device_unavailable", `Cannot open device "dawn": nothing says where Dawn is. Install it: ${INSTALL_DAWN}`);
  }
  const specifier = moduleSpecifier(path);
  const toggles = validate ? TOGGLES : [...TOGGLES, "skip_validation"];
  const key = `${specifier} ${toggles}`;
  const known = dawnInstances.get(key);
  if (known !== undefined) return known;
  try {
    const { create, globals } = await import(specifier);
    for (const [name, value] of Object.entries(globals)) if (!(name in globalThis)) Object.assign(globalThis, { [name]: value });
    const gpu = create([
      `enable-dawn-features=${toggles}`,
      // Coarse times are for web pages.
      "disable-dawn-features=timestamp_quantization",
    ]) as GPU;
    dawnInstances.set(key, gpu);
    return gpu;
  } catch (cause) {
    throw new LatentmeshError(
      "device_unavailable",
      `Cannot load Dawn from ${specifier}: ${messageOf(cause).replace(/\.$/, "")}. Install it: ${INSTALL_DAWN}`,
      { cause },
    );
  }
}
