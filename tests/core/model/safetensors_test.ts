import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { LatentmeshError } from "../../../core/errors.ts";
import { readSafetensorsHeader } from "../../../core/model/safetensors.ts";
import { type TensorData, writeSafetensors } from "../../../core/model/safetensors_writer.ts";
import { memorySource } from "../../support/safetensors.ts";
import { SEED } from "../../../bench/support/random.ts";

/** A file with this header text and this many data bytes. */
function file(header: string, dataBytes: number, claimed?: number): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + text.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(claimed ?? text.length), true);
  bytes.set(text, 8);
  return bytes;
}

const entry = (dtype: string, shape: number[], begin: number, end: number) => ({ dtype, shape, data_offsets: [begin, end] });
const refused = (bytes: Uint8Array<ArrayBuffer>, says: string) =>
  assertRejects(() => readSafetensorsHeader(memorySource("x.safetensors", bytes)), LatentmeshError, says);

describe("readSafetensorsHeader", () => {
  it("reads back whatever is written", async () => {
    const tensors = fc.uniqueArray(
      fc.record({
        name: fc.string({ minLength: 1 }).filter((name) => name !== "__metadata__" && name !== "__proto__"),
        rows: fc.nat(4),
        columns: fc.nat(4),
      }),
      { selector: ({ name }) => name, maxLength: 6 },
    );
    await fc.assert(
      fc.asyncProperty(tensors, async (list) => {
        const data: TensorData[] = list.map(({ name, rows, columns }) => ({
          name,
          dtype: "F16",
          shape: [rows, columns],
          bytes: new Uint8Array(rows * columns * 2),
        }));
        const header = await readSafetensorsHeader(memorySource("x", writeSafetensors(data)));
        assertEquals([...header.tensors.keys()].sort(), list.map(({ name }) => name).sort());
        for (const { name, shape } of data) assertEquals(header.tensors.get(name)!.shape, shape);
      }),
      { seed: SEED },
    );
  });

  it("never accepts a corrupted file as another one: any changed header byte is refused or reads as a tiling of the file", async () => {
    const good = writeSafetensors([{ name: "a", dtype: "F32", shape: [2], bytes: new Uint8Array(8) }, {
      name: "b",
      dtype: "U8",
      shape: [3],
      bytes: new Uint8Array(3),
    }]);
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.nat(255), async (at, value) => {
        const bytes = good.slice();
        bytes[at] = value;
        try {
          const { tensors } = await readSafetensorsHeader(memorySource("x", bytes));
          assertEquals([...tensors.values()].reduce((sum, tensor) => sum + tensor.bytes, 0), 11);
        } catch (error) {
          assertEquals(error instanceof LatentmeshError, true, String(error));
        }
      }),
      { seed: SEED, numRuns: 500 },
    );
  });

  it("reads names that look like keys and values", async () => {
    const names = ['a":', '","', ":", "{", '\\"', "\\", "a,b", "__proto__", "7"];
    const written = writeSafetensors(names.map((name, i) => ({ name, dtype: "U8", shape: [1], bytes: Uint8Array.of(i) })), { '":': '":' });
    const { tensors } = await readSafetensorsHeader(memorySource("names", written));
    assertEquals([...tensors.keys()].sort(), names.toSorted());
  });

  it("refuses files that are too short or lie about their header", async () => {
    await refused(new Uint8Array(3), "too short");
    await refused(file("{}", 0, 100_000_001), "over the limit");
    await refused(file("{}", 0, 50), "truncated");
    await refused(file("[]", 0), "does not begin with {");
    await refused(file("{nonsense}", 0), "not JSON");
    const invalid = file("{ }", 0);
    invalid[9] = 0xff;
    await refused(invalid, "not UTF-8");
  });

  it("refuses overlaps, gaps, overflow, trailing bytes and truncated data", async () => {
    const header = (tensors: object) => JSON.stringify(tensors);
    await refused(file(header({ a: entry("U8", [4], 0, 4), b: entry("U8", [4], 2, 6) }), 6), `"b" overlaps`);
    await refused(file(header({ a: entry("U8", [2], 0, 2), b: entry("U8", [2], 4, 6) }), 6), "gap of 2 bytes");
    await refused(file(header({ a: entry("U8", [2 ** 40, 2 ** 40], 0, 4) }), 4), "overflows");
    await refused(file(header({ a: entry("U8", [2], 0, 2) }), 5), "3 bytes after the last tensor");
    await refused(file(header({ a: entry("F32", [4], 0, 16) }), 9), "truncated");
    await refused(file(header({ a: entry("U8", [4], 4, 0) }), 4), "outside the file");
  });

  it("refuses wrong lengths, unknown dtypes, malformed entries and duplicate keys", async () => {
    await refused(file(JSON.stringify({ a: entry("F32", [2], 0, 4) }), 4), "takes 8");
    await refused(file(JSON.stringify({ a: entry("F4", [2], 0, 1) }), 1), `unknown dtype "F4"`);
    await refused(file(JSON.stringify({ a: { dtype: "U8", shape: [-1], data_offsets: [0, 0] } }), 0), "malformed");
    await refused(file(JSON.stringify({ a: { ...entry("U8", [1], 0, 1), extra: 1 } }), 1), "malformed");
    await refused(file(JSON.stringify({ __metadata__: { a: 1 } }), 0), "__metadata__");
    const twice = JSON.stringify(entry("U8", [1], 0, 1));
    await refused(file(`{"a":${twice},"\\u0061":${twice}}`, 1), `"a" twice`);
    await refused(file(`{"a":${twice},"b\\"\\\\":${twice},"b\\"\\\\":${twice}}`, 1), `"b"\\" twice`);
    await refused(file(`{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`, 1), "malformed");
    await refused(file(`{"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}}`, 1), `"shape" twice`);
  });
});
