import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { Checkpoint } from "../../../core/model/checkpoint.ts";
import { DIGEST_BYTES, firstDifference, tensorDigests } from "../../../core/model/contents.ts";
import { modelHash } from "../../../core/model/model_hash.ts";
import { type TensorData, writeSafetensors } from "../../../core/model/safetensors_writer.ts";
import { readBasis } from "../../../core/tpla/basis_file.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";
import { Random } from "../../../bench/support/random.ts";
import { memoryFiles } from "../../support/safetensors.ts";

const random = new Random();
const tensor = (name: string, bytes: number): TensorData => ({
  name,
  dtype: "U8",
  shape: [bytes],
  bytes: Uint8Array.from({ length: bytes }, () => random.below(256)),
});
/** Longer than a sample, longer than a piece, empty, and short. */
const TENSORS = [tensor("a", 3000), tensor("b", (1 << 20) + 5), tensor("c", 0), tensor("d", 7)];

const open = (files: Parameters<typeof memoryFiles>[0]) => Checkpoint.open(memoryFiles(files));
const single = (tensors: TensorData[]) => open({ "model.safetensors": writeSafetensors(tensors) });
const noPause = () => Promise.resolve();

/** The same tensors with one byte of one of them changed. */
function changed(name: string, at: number): TensorData[] {
  return TENSORS.map((one) => {
    if (one.name !== name) return one;
    const bytes = one.bytes.slice();
    bytes[at] ^= 1;
    return { ...one, bytes };
  });
}

describe("the identity of a checkpoint", () => {
  it("does not depend on the order of tensors or on which files hold them", async () => {
    const hash = await modelHash("{}", await single(TENSORS));
    assertEquals(await modelHash("{}", await single(TENSORS.toReversed())), hash);
    const weight_map = { a: "2.safetensors", b: "1.safetensors", c: "2.safetensors", d: "1.safetensors" };
    const of = (file: string) => writeSafetensors(TENSORS.filter(({ name }) => weight_map[name as "a"] === file), { format: "pt" });
    const sharded = await open({
      "model.safetensors.index.json": JSON.stringify({ weight_map }),
      "1.safetensors": of("1.safetensors"),
      "2.safetensors": of("2.safetensors"),
    });
    assertEquals(await modelHash("{}", sharded), hash);
    assertEquals(await tensorDigests(sharded, noPause), await tensorDigests(await single(TENSORS), noPause));
  });

  it("depends on config.json, names, types, shapes and the first kilobyte of every tensor, and on nothing else", async () => {
    const hash = await modelHash("{}", await single(TENSORS));
    const others = [
      ["{ }", TENSORS],
      ["{}", TENSORS.slice(1)],
      ["{}", changed("a", 1023)],
      ["{}", changed("d", 6)],
      ["{}", TENSORS.map((one) => one.name === "a" ? { ...one, shape: [1000, 3] } : one)],
      ["{}", TENSORS.map((one) => one.name === "a" ? { ...one, dtype: "I8" as const } : one)],
      ["{}", TENSORS.map((one) => one.name === "a" ? { ...one, name: "e" } : one)],
    ] as const;
    for (const [config, tensors] of others) assert(await modelHash(config, await single([...tensors])) !== hash);
    assertEquals(await modelHash("{}", await single(changed("a", 1024))), hash);
  });

  it("is the one that bases were made for before", async () => {
    using files = new DirectoryFiles(fixtureDirectory("tiny-mla"));
    const { provenance } = await readBasis((await files.open("basis.safetensors"))!);
    assertEquals(await modelHash((await files.text("config.json"))!, await Checkpoint.open(files)), provenance.modelHash);
  });
});

describe("the contents of a checkpoint", () => {
  it("tell where one byte differs that identities do not see", async () => {
    const checkpoint = await single(TENSORS);
    const own = await tensorDigests(checkpoint, noPause);
    assertEquals(own.length, TENSORS.length * DIGEST_BYTES);
    assertEquals(firstDifference(checkpoint, own, own.slice()), null);
    for (const [name, at] of [["a", 2999], ["b", 1 << 20], ["b", 1024], ["d", 0]] as const) {
      assertEquals(firstDifference(checkpoint, own, await tensorDigests(await single(changed(name, at)), noPause)), name);
    }
    assertEquals(firstDifference(checkpoint, own, own.subarray(0, own.length - 1)), "d");
  });

  it("are read in pieces, and no further when nobody wants them", async () => {
    let pieces = 0;
    await tensorDigests(await single(TENSORS), () => Promise.resolve(void pieces++));
    assertEquals(pieces, 4);
    const stop = new Error("stop");
    const ended = await tensorDigests(await single(TENSORS), () => Promise.reject(stop)).catch((error) => error);
    assertEquals(ended, stop);
  });
});
