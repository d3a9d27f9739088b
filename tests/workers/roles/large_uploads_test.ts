import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { LargeUploads } from "../../../workers/roles/large_uploads.ts";
import type { Device } from "../../../kernels/device/device.ts";
import { Random } from "../../../bench/support/random.ts";
import { openTestDevice } from "../../support/devices.ts";

const MIB = 1 << 20;

/** A processor that passes for another device, and counts the blocks that are taken to reach it. */
async function openAs(kind: Device["kind"]): Promise<{ readonly device: Device; readonly blocks: () => number }> {
  const device = await openTestDevice("cpu");
  let blocks = 0;
  const createStaging: Device["createStaging"] = (bytes, count) => {
    const staging = device.createStaging(bytes, count);
    return { take: () => (blocks++, staging.take()), close: () => staging.close() };
  };
  return { device: Object.create(device, { kind: { value: kind }, createStaging: { value: createStaging } }), blocks: () => blocks };
}

describe("large uploads", () => {
  it("put all bytes where they belong, in blocks where they are large and otherwise as they are", async () => {
    const { device, blocks } = await openAs("dawn");
    const random = new Random();
    const uploads = new LargeUploads(device, 40 * MIB);
    const buffer = device.createBuffer("parts", 24 * MIB);
    const expected = new Uint8Array(buffer.bytes);
    let staged = 0;
    for (const bytes of [4, MIB - 4, MIB, 2 * MIB, 2 * MIB + 4, 21 * MIB, 3 * MIB, 8]) {
      const data = Uint8Array.from({ length: bytes + 8 }, () => random.below(256)).subarray(8);
      const offset = 4 * random.below((buffer.bytes - bytes) / 4);
      await uploads.write([{ buffer, offset, data }]);
      expected.set(data, offset);
      // The memory may be another's as soon as that has resolved.
      data.fill(7);
      staged += bytes < MIB ? 0 : Math.ceil(bytes / (2 * MIB));
    }
    const readback = await device.createReadback("parts", buffer.bytes);
    device.read(readback, buffer, 0, buffer.bytes);
    device.submit();
    assertEquals(await readback.take(), expected);
    assertEquals(blocks(), staged);
    await uploads.close();
    await device.close();
  });

  it("take no memory where none are large, or where there is no better way", async () => {
    for (const [mostBytes, kind] of [[MIB - 4, "dawn"], [40 * MIB, "deno"], [40 * MIB, "cpu"]] as const) {
      const { device, blocks } = await openAs(kind);
      const buffer = device.createBuffer("parts", 2 * MIB);
      const uploads = new LargeUploads(device, mostBytes);
      await uploads.write([{ buffer, offset: 4, data: new Uint8Array(MIB).fill(3) }]);
      assertEquals(blocks(), 0);
      await uploads.close();
      await device.close();
    }
  });
});
