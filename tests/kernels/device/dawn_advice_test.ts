import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { INSTALL_DAWN } from "../../../core/dawn_package.ts";
import { dawnAdvice } from "../../../kernels/device/dawn_advice.ts";
import { openDevice } from "../../../kernels/device/providers.ts";
import { absence } from "../../support/devices.ts";

const [NVIDIA, AMD, INTEL, APPLE, MESA] = ["4318", "4098", "32902", "4203", "65541"];

/** An adapter as it might be, on Linux unless said otherwise. */
const adviceFor = (vendor: string, description: string, [subgroupMinSize, subgroupMaxSize] = [32, 32], os = "linux") =>
  dawnAdvice({ vendor, description, subgroupMinSize, subgroupMaxSize }, os);

describe("advice about Dawn", () => {
  it("names what is lost and the command that brings it, on cards that have tensor cores", () => {
    const cards = ["NVIDIA H200", "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "NVIDIA A10G", "NVIDIA L4", "NVIDIA L40S", "Tesla T4"];
    const more = [
      "NVIDIA GeForce RTX 2060",
      "NVIDIA GeForce RTX 5090",
      "Quadro RTX 6000",
      "NVIDIA RTX A2000",
      "NVIDIA TITAN RTX",
      "NVIDIA GH200 480GB",
    ];
    for (const card of [...cards, ...more, "NVIDIA B200", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition"]) {
      const advice = adviceFor(NVIDIA, card);
      assertStringIncludes(advice ?? "none", card);
      assertStringIncludes(advice!, "times as long");
      assertStringIncludes(advice!, INSTALL_DAWN);
      assertEquals(advice!.split("\n").length, 1);
    }
  });

  it("says nothing where Dawn would give nothing, or nobody knows", () => {
    const without = [
      "NVIDIA GeForce GTX 1080 Ti",
      "NVIDIA GeForce GTX 1660",
      "Tesla V100-SXM2-16GB",
      "Tesla P100-PCIE-16GB",
      "Tesla K80",
      "Quadro P4000",
    ];
    for (const card of [...without, "NVIDIA T1000", "NVIDIA T400 4GB", "NVIDIA GeForce MX450", "NVIDIA Tegra X1", ""]) {
      assertEquals(adviceFor(NVIDIA, card), undefined, card);
    }
    // Dawn lists no products of 16 × 16 × 16 in subgroups of 32 for these.
    assertEquals(adviceFor(AMD, "AMD Radeon RX 7900 XTX (RADV NAVI31)", [32, 64]), undefined);
    assertEquals(adviceFor(INTEL, "Intel(R) Arc(tm) A770 Graphics (DG2)", [8, 32]), undefined);
    assertEquals(adviceFor(APPLE, "Apple M3 Max", [4, 64], "darwin"), undefined);
    assertEquals(adviceFor(MESA, "llvmpipe (LLVM 15.0.6, 256 bits)", [8, 8]), undefined);
    assertEquals(adviceFor(NVIDIA, "NVIDIA GeForce RTX 4090", [32, 32], "windows"), undefined);
    assertEquals(dawnAdvice({ vendor: NVIDIA, description: "NVIDIA H200" }, "linux"), undefined);
  });

  const test = absence("deno") === null ? it : it.skip;
  test("comes with the device that is taken instead, and not with one that was asked for", async () => {
    const requestAdapter = navigator.gpu.requestAdapter;
    navigator.gpu.requestAdapter = async () => {
      const adapter = (await requestAdapter.call(navigator.gpu))!;
      const { features, limits } = adapter;
      const info = { vendor: NVIDIA, description: "NVIDIA H200", subgroupMinSize: 32, subgroupMaxSize: 32, isFallbackAdapter: false };
      return {
        features,
        limits,
        info,
        requestDevice: (descriptor: GPUDeviceDescriptor) => adapter.requestDevice(descriptor),
      } as unknown as GPUAdapter;
    };
    const advised = async (...asked: Parameters<typeof openDevice>) => {
      const { device, advice } = await openDevice(...asked);
      await device.close();
      return advice !== undefined;
    };
    try {
      const known = Deno.build.os === "linux";
      assertEquals(await advised("auto"), known);
      assertEquals(await advised("auto", { dawn: "/nowhere/index.js" }), known);
      assertEquals(await advised("deno"), false);
      assertEquals(await advised("cpu"), false);
    } finally {
      navigator.gpu.requestAdapter = requestAdapter;
    }
    assertEquals(await advised("auto"), false);
  });
});
