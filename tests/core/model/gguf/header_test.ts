/**
 * What GGUF files begin with: files that lie about themselves are refused, by name and before anything is allocated.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { ggufHead, type GgufTensor, type WrittenValue } from "../../../../bench/gguf/head.ts";
import { LatentmeshError } from "../../../../core/errors.ts";
import { readGgufHeader } from "../../../../core/model/gguf/header.ts";
import { memorySource } from "../../../support/safetensors.ts";

const TENSORS: GgufTensor[] = [{ name: "t", shape: [2, 32], type: "Q8_0" }, { name: "u", shape: [3], type: "F32" }];
const METADATA = new Map<string, WrittenValue>([["k", { type: "f32", value: 1e-6 }], ["s", { type: "strings", value: ["x", "yz"] }]]);

function written(metadata: ReadonlyMap<string, WrittenValue> = METADATA, tensors = TENSORS): Uint8Array<ArrayBuffer> {
  const head = ggufHead(metadata, tensors);
  const file = new Uint8Array(head.byteLength + 128);
  file.set(head);
  return file;
}

/** The same with numbers elsewhere than they were. @param at a place before the end of what is looked for */
function changed(edit: (view: DataView, find: (text: string) => number) => void): Uint8Array<ArrayBuffer> {
  const file = written();
  const text = new TextDecoder("latin1").decode(file);
  edit(new DataView(file.buffer), (what) => text.indexOf(what) + what.length);
  return file;
}

const CASES: readonly [what: string, file: Uint8Array<ArrayBuffer>, problem: string][] = [
  ["another format", changed((view) => view.setUint8(0, 0)), "does not begin with GGUF"],
  ["the first version", changed((view) => view.setUint32(4, 1, true)), "has version 1 of the format"],
  ["big endian", changed((view) => view.setUint32(4, 3, false)), "is big endian"],
  ["a short file", written().slice(0, 20), "it ends in its first 24 bytes"],
  ["many tensors", changed((view) => view.setBigUint64(8, 1n << 60n, true)), "tensors"],
  ["many keys", changed((view) => view.setBigUint64(16, 1n << 40n, true)), "keys of metadata"],
  ["a long key", changed((view) => view.setBigUint64(24, 1n << 30n, true)), "a key of its metadata claims 1073741824 bytes"],
  ["an unknown type", changed((view, find) => view.setUint32(find("k"), 99, true)), "has the unknown type 99"],
  ["many strings", changed((view, find) => view.setBigUint64(find("s") + 8, 1n << 50n, true)), "claims 1125899906842624 strings"],
  ["nested arrays", changed((view, find) => view.setUint32(find("s") + 4, 9, true)), "array of type 9, which is none or is nested"],
  ["a long string", changed((view, find) => view.setBigUint64(find("s") + 16, 1n << 40n, true)), "claims 1099511627776 bytes"],
  ["no UTF-8", changed((view, find) => view.setUint8(find("yz") - 1, 0xff)), "is not UTF-8"],
  ["many dimensions", changed((view, find) => view.setUint32(find("\u0001\0\0\0\0\0\0\0t"), 1 << 20, true)), "has 1048576 dimensions"],
  ["an empty tensor", changed((view, find) => view.setBigUint64(find("\u0001\0\0\0\0\0\0\0t") + 12, 0n, true)), "has the shape [0, 32]"],
  ["a huge tensor", changed((view, find) => view.setBigUint64(find("\u0001\0\0\0\0\0\0\0t") + 12, 1n << 62n, true)), "has the shape"],
  ["parts of blocks", changed((view, find) => view.setBigUint64(find("\u0001\0\0\0\0\0\0\0t") + 4, 33n, true)), "(33) are not whole blocks of Q8_0"],
  [
    "a type that is not read",
    changed((view, find) => view.setUint32(find("\u0001\0\0\0\0\0\0\0t") + 20, 19, true)),
    "is stored as IQ1_S; supported are F32,",
  ],
  [
    "a crooked place",
    changed((view, find) => view.setBigUint64(find("\u0001\0\0\0\0\0\0\0t") + 24, 8n, true)),
    "begins at 8, which is no multiple of 32",
  ],
  ["a place beyond", changed((view, find) => view.setBigUint64(find("\u0001\0\0\0\0\0\0\0t") + 24, 1n << 50n, true)), "lies outside the file"],
  ["one place for two", changed((view, find) => view.setBigUint64(find("\u0001\0\0\0\0\0\0\0u") + 16, 32n, true)), "overlaps the one before it"],
  ["a truncated file", written().slice(0, -64), "is the file truncated?"],
  ["a key twice", written(new Map<string, WrittenValue>([["kk", { type: "bool", value: true }], ["kl", { type: "bool", value: true }]])), ""],
  ["a strange alignment", written(new Map<string, WrittenValue>([["general.alignment", { type: "u32", value: 12 }]])), "is no multiple of 8"],
];

describe("GGUF headers", () => {
  it("say what is in a file", async () => {
    for (const version of [2, 3]) {
      const file = changed((view) => view.setUint32(4, version, true));
      const { metadata, tensors } = await readGgufHeader(memorySource("x", file));
      // The decimal that was meant, not its float32.
      assertEquals([...metadata], [["k", 1e-6], ["s", ["x", "yz"]]]);
      const data = file.byteLength - 128;
      assertEquals([...tensors], [["t", { type: "Q8_0", shape: [2, 32], offset: data, bytes: 68 }], ["u", {
        type: "F32",
        shape: [3],
        offset: data + 96,
        bytes: 12,
      }]]);
    }
  });

  for (const [what, file, problem] of CASES) {
    it(`refuse ${what}`, async () => {
      if (what === "a key twice") {
        const text = new TextDecoder("latin1").decode(file);
        file[text.indexOf("kl") + 1] = "k".charCodeAt(0);
        return void await assertRejects(() => readGgufHeader(memorySource("x", file)), LatentmeshError, '"kk" twice');
      }
      await assertRejects(() => readGgufHeader(memorySource("x", file)), LatentmeshError, problem);
    });
  }
});
