import { isHost } from "../../../core/device_kind.ts";
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { openDevice } from "../../../kernels/device/providers.ts";
import { residualAdd } from "../../../kernels/residual_add/residual_add.ts";
import { absence, describeOnDevices, openDenoDevice, openTestDevice } from "../../support/devices.ts";
import { runKernel } from "../../support/kernel.ts";

describeOnDevices("device", (kind) => {
  it("checks bindings when they are bound, and parameters when they are run", async () => {
    const device = await openTestDevice(kind);
    const compiled = await device.compile(residualAdd, { width: 64 });
    const [small, large] = [device.createBuffer("small", 256), device.createBuffer("large", 512)];
    assertThrows(() => compiled.bind({ delta: small, x: large }, { rows: 2 }), LatentmeshError, `"delta" (small) has 256 bytes, needs 512`);
    const bound = compiled.bind({ delta: small, x: large }, { rows: 1 });
    assertThrows(() => device.run(bound, { rows: 2 }), LatentmeshError, "rows = 2, but its buffers were checked for at most 1");
    await device.close();
  });

  if (!isHost(kind)) {
    it("names a kernel that does not compile, whether commands are checked or not", async () => {
      for (const validate of [true, false]) {
        const device = await openTestDevice(kind, {}, validate);
        for (const wgsl of ["fn broken(", "@compute @workgroup_size(1) fn main() { let x: u32 = 1.5; }"]) {
          const broken = { ...residualAdd, name: "broken", wgsl: () => wgsl };
          await assertRejects(() => device.compile(broken, { width: 64 }), LatentmeshError, "Cannot compile kernel broken");
        }
        await device.close();
      }
    });
  }

  it("compiles to the end what it was compiling when it is closed", async () => {
    const device = await openTestDevice(kind);
    const compiling = [64, 128].map((width) => device.compile(residualAdd, { width }));
    await device.close();
    await Promise.all(compiling);
  });

  it("says so when a buffer is too large", async () => {
    const device = await openTestDevice(kind);
    const error = assertThrows(() => device.createBuffer("huge", 2 ** 50), LatentmeshError, "huge");
    assertEquals(error.code, "out_of_memory");
    await device.close();
  });

  it("writes nothing that does not fit, and goes on", async () => {
    const device = await openTestDevice(kind);
    const buffer = device.createBuffer("b", 64);
    const readback = await device.createReadback("b", 64);
    for (const [offset, words] of [[64, 1], [60, 2], [0, 17], [2, 1], [2 ** 40, 1]]) {
      assertThrows(() => device.write(buffer, offset, new Uint32Array(words)), LatentmeshError, `Cannot write ${words * 4} bytes to b at ${offset}`);
    }
    assertThrows(() => device.write(buffer, 0, new Uint8Array(3)), LatentmeshError, "counted in fours");
    device.write(buffer, 60, Uint32Array.of(5));
    device.read(readback, buffer, 56, 8);
    device.submit();
    assertEquals([...new Uint32Array((await readback.take()).slice().buffer)], [0, 5]);
    await device.close();
  });

  it("reads several times through one readback, and starts from zeroed buffers", async () => {
    const device = await openTestDevice(kind);
    const buffer = device.createBuffer("b", 64);
    const readback = await device.createReadback("b", 64);
    for (const value of [0, 3, 7]) {
      if (value > 0) device.write(buffer, 8, Uint32Array.of(value));
      device.read(readback, buffer, 0, 16);
      device.submit();
      assertEquals([...new Uint32Array((await readback.take()).slice().buffer)], [0, 0, value, 0]);
    }
    await device.close();
  });
});

describe("WebGPU device", () => {
  const absent = absence("deno");
  const test = absent === null ? it : it.skip;
  test("that is lost ends in a named error, everywhere", async () => {
    const { device, gpu } = await openDenoDevice();
    const run = () => runKernel(device, residualAdd, { width: 4 }, { delta: new Float32Array(4), x: new Float32Array(4) }, { rows: 1 });
    await run();
    gpu.destroy();
    assertEquals((await device.lost).code, "device_lost");
    assertEquals((await assertRejects(run, LatentmeshError, "was lost")).code, "device_lost");
  });
});

describe("a WebGPU device that refuses a command", () => {
  const test = absence("deno") === null ? it : it.skip;
  test("says so at once, and from then on whatever it is asked", async () => {
    const device = await openTestDevice("deno", { maxBufferBytes: 2 ** 60 });
    device.createBuffer("more than there is", 2 ** 52);
    const error = await device.lost;
    assert(error.code === "internal" || error.code === "out_of_memory", error.message);
    assertEquals(assertThrows(() => device.submit(), LatentmeshError), error);
    await device.close();
  });
});

describe("openDevice", () => {
  const test = absence("deno") === null ? it : it.skip;
  test("does without subgroups where a driver has none", async () => {
    const requestAdapter = navigator.gpu.requestAdapter;
    const refused: string[] = [];
    navigator.gpu.requestAdapter = async () => {
      const adapter = (await requestAdapter.call(navigator.gpu))!;
      return {
        features: adapter.features,
        limits: adapter.limits,
        info: { description: adapter.info.description, subgroupMinSize: 32 },
        requestDevice(descriptor: GPUDeviceDescriptor) {
          const features = [...descriptor.requiredFeatures ?? []] as string[];
          if (!features.includes("subgroups")) return adapter.requestDevice(descriptor);
          refused.push(...features);
          return Promise.reject(new TypeError("requiredFeatures must be a subset of the adapter features"));
        },
      } as unknown as GPUAdapter;
    };
    try {
      const { device } = await openDevice("deno");
      assertEquals(refused.filter((feature) => feature === "subgroups").length, 1, "asked for by name, once");
      assertEquals(device.features.subgroups, 0);
      await device.close();
    } finally {
      navigator.gpu.requestAdapter = requestAdapter;
    }
  });

  it("takes a hardware GPU or the CPU on its own, and says why", async () => {
    const { device, reason } = await openDevice("auto");
    assertEquals(isHost(device.kind) ? /no GPU driver|software/.test(reason) : reason === "a hardware GPU", true, reason);
    await device.close();
  });

  it("goes on without a Dawn that gives nothing more, and says so", async () => {
    const { device, reason } = await openDevice("auto", { dawn: "/nowhere/index.js" });
    assertEquals(isHost(device.kind) || device.kind === "deno", true);
    assertStringIncludes(reason, "; Cannot load Dawn from");
    await device.close();
  });

  it("says how to get Dawn when it is not there", async () => {
    const error = await assertRejects(() => openDevice("dawn", { dawn: "/nowhere/index.js" }), LatentmeshError, "npm install --prefix");
    assertEquals(error.code, "device_unavailable");
  });
});
