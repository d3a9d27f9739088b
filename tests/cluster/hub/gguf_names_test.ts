/**
 * Models in GGUF files from a hub on loopback: which file is meant, and that only it is fetched.
 */
import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import type { WrittenValue } from "../../../bench/gguf/head.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { deepseek2Tensors } from "../../../core/model/gguf/tensor_names.ts";
import { cachedModels, removeModel } from "../../../cluster/hub/cached_models.ts";
import { describeModel } from "../../../cluster/hub/describe.ts";
import { chooseGguf } from "../../../cluster/hub/gguf_choice.ts";
import { parseHubName } from "../../../cluster/hub/hub_name.ts";
import { clusterServices } from "../../../cluster/compose.ts";
import { readModelPackage } from "../../../core/model_package.ts";
import { DirectoryFiles, openModelFiles } from "../../../workers/load/model_files.ts";
import { commitOf, type PublishedModel } from "../../support/hub/fake_hub.ts";
import { HubUser, namesIn } from "../../support/hub/hub_user.ts";
import { fixtureDirectory } from "../../support/checkpoints.ts";
import { ggufBytesOf } from "../../support/gguf.ts";

const youtu = new DirectoryFiles(fixtureDirectory("youtu-tiny"));
const F32 = await ggufBytesOf(youtu, "F32");
const Q8 = await ggufBytesOf(youtu, "Q8_0");
const PARTS = await Promise.all([0, 1].map((number) =>
  ggufBytesOf(youtu, "Q4_0", {
    tensors: (spec) => deepseek2Tensors(spec).filter((_, i) => i % 2 === number),
    metadata: new Map<string, WrittenValue>([["split.no", { type: "u32", value: number }], ["split.count", { type: "u32", value: 2 }]]),
  })
));
youtu.close();
const [FIRST, SECOND] = [1, 2].map((number) => `Q4_0/You-Q4_0-0000${number}-of-00002.gguf`);
const BASIS = new TextEncoder().encode("a basis");

const MODEL: PublishedModel = {
  repository: "test/You-GGUF",
  files: new Map([
    ["README.md", new TextEncoder().encode("# A model")],
    // Some have it beside their files, where it says nothing of them.
    ["config.json", new TextEncoder().encode('{"model_type": "llama"}')],
    ["You-F32.gguf", F32],
    ["You-q8_0.gguf", Q8],
    ["You-q8_0.gguf.basis.safetensors", BASIS],
    [FIRST, PARTS[0]],
    [SECOND, PARTS[1]],
    ["mmproj-F16.gguf", new TextEncoder().encode("what encodes images")],
    ["You-IQ2_XXS.gguf", new TextEncoder().encode("GGUF for another processor".repeat(200))],
  ]),
};

const PATHS = [
  "a-Q2_K.gguf",
  "a.Q4_K_M.gguf",
  "a-UD-Q4_K_XL.gguf",
  "b/a_Q8_0-00001-of-00002.gguf",
  "b/a_Q8_0-00002-of-00002.gguf",
  "mmproj-a-Q4_0.gguf",
];

describe("a GGUF file of several", () => {
  it("is meant by its precision, whatever is around that in its name, and by nothing else the usual one", () => {
    const cases: [wanted: string | undefined, file: string][] = [
      [undefined, "a.Q4_K_M.gguf"],
      ["latest", "a.Q4_K_M.gguf"],
      ["q2_k", "a-Q2_K.gguf"],
      ["Q4_K_XL", "a-UD-Q4_K_XL.gguf"],
      ["UD-Q4_K_XL", "a-UD-Q4_K_XL.gguf"],
      ["Q8_0", "b/a_Q8_0-00001-of-00002.gguf"],
      ["mmproj-a-Q4_0.gguf", "mmproj-a-Q4_0.gguf"],
    ];
    for (const [wanted, file] of cases) assertEquals(chooseGguf(PATHS, wanted, "a/b").file, file);
    assertEquals(chooseGguf(PATHS, "Q8_0", "a/b").parts, PATHS.slice(3, 5));
    assertEquals(chooseGguf(["x.gguf"], undefined, "a/b").file, "x.gguf", "the only one needs no name");
    assertEquals(chooseGguf(["a-Q8_0.gguf", "a-Q5_K_M.gguf", "a-BF16.gguf"], undefined, "a/b").file, "a-Q5_K_M.gguf");
  });

  it("that is none of them, or not the only one, is told of with those that there are", () => {
    const cases: [paths: string[], wanted: string | undefined, said: string][] = [
      [PATHS, "Q4_0", "it has no GGUF file of Q4_0; there are Q2_K, UD-Q4_K_XL, Q4_K_M, Q8_0 (as in a/b:Q2_K)"],
      [PATHS, "Q4_K", "it has no GGUF file of Q4_K"],
      [PATHS, "c.gguf", "it has no file c.gguf; there are"],
      [
        ["base-Q4_0.gguf", "chat-Q4_0.gguf"],
        "Q4_0",
        "it has several GGUF files of Q4_0; name one of them as hf:a/b/FILE: base-Q4_0.gguf, chat-Q4_0.gguf",
      ],
      [["base.gguf", "chat.gguf"], undefined, "it has several GGUF files; say which by its precision; there are base.gguf, chat.gguf"],
      [["model.safetensors"], "main", 'it has no GGUF file (a revision is named by @, not by ":")'],
    ];
    for (const [paths, wanted, said] of cases) {
      assertStringIncludes(assertThrows(() => chooseGguf(paths, wanted, "a/b"), LatentmeshError).message, said);
    }
  });
});

describe("a model in GGUF files on a hub", () => {
  it("is fetched alone, with all its parts, under the name that users of llama.cpp give it", async () => {
    await using user = await HubUser.of({ models: [MODEL] });
    const cases: [name: string, path: string, fetched: number, there: string[]][] = [
      ["test/You-GGUF", FIRST, PARTS[0].length + PARTS[1].length, ["Q4_0"]],
      ["hf.co/test/You-GGUF:q8_0", "You-q8_0.gguf", Q8.length + BASIS.length, ["Q4_0", "You-q8_0.gguf", "You-q8_0.gguf.basis.safetensors"]],
      ["test/You-GGUF:Q4_0", FIRST, 0, ["Q4_0", "You-q8_0.gguf", "You-q8_0.gguf.basis.safetensors"]],
      [`hf:test/You-GGUF@${commitOf(MODEL)}/${FIRST}`, FIRST, 0, ["Q4_0", "You-q8_0.gguf", "You-q8_0.gguf.basis.safetensors"]],
    ];
    for (const [name, path, fetchedBytes, there] of cases) {
      const pulled = await user.pull(name);
      assertEquals([pulled.path, pulled.fetchedBytes], [`${pulled.directory}/${path}`, fetchedBytes]);
      assertEquals(await namesIn(pulled.directory), there);
      using files = openModelFiles(pulled.path);
      assertEquals((await readModelPackage(files)).spec.layers, 3);
    }
    assertEquals(await user.checkBlobs("test/You-GGUF"), 4);
    // Nobody is asked: of what is there, the same are found.
    const offline = user.client({ offline: true });
    assertEquals((await user.pull("test/You-GGUF:Q8_0", { verify: true }, offline)).path.endsWith("/You-q8_0.gguf"), true);
    assertEquals((await user.pull("test/You-GGUF", {}, offline)).path.endsWith(FIRST), true);
    await assertRejects(() => user.pull("test/You-GGUF:F32", {}, offline), LatentmeshError, "it is only in part (F32 is missing)");
    const [model] = await cachedModels(user.cache);
    assertEquals(model.revisions.map(({ gguf, missing, bytes }) => ({ gguf, missing, bytes })), [
      { gguf: ["Q4_0", "q8_0"], missing: null, bytes: PARTS[0].length + PARTS[1].length + Q8.length + BASIS.length },
    ]);
    assertEquals(await removeModel(user.cache, parseHubName("test/You-GGUF:Q8_0")!, { onlyRevision: false }), Q8.length + BASIS.length);
    assertEquals(await user.checkBlobs("test/You-GGUF"), 2);
    assertEquals(await removeModel(user.cache, parseHubName("test/You-GGUF:q4_0")!, { onlyRevision: false }), PARTS[0].length + PARTS[1].length);
    assertEquals(await cachedModels(user.cache), []);
  });

  it("goes on where it was broken off, and is used only as the hub lists it", async () => {
    await using user = await HubUser.of({ models: [MODEL] });
    let broken = 0;
    // Not of its head, which is read before: of that, the end is said.
    user.hub.fault = ({ kind, path, range }) =>
      kind === "content" && path === SECOND && !/-\d+$/.test(range ?? "") && broken++ === 0 ? { kind: "break", after: 10_000 } : null;
    const pulled = await user.pull("test/You-GGUF:Q4_0");
    assertEquals([pulled.fetchedBytes, broken], [PARTS[0].length + PARTS[1].length, 2]);
    await Deno.writeFile(`${pulled.directory}/${SECOND}`, PARTS[0]);
    await assertRejects(() => user.pull("test/You-GGUF:Q4_0", { verify: true }, user.client({ offline: true })), LatentmeshError, SECOND);
    await user.pull("test/You-GGUF:Q4_0", { verify: true });
    assertEquals(await user.checkBlobs("test/You-GGUF"), 2);
  });

  it("is planned with by what its head says, and refused before it is fetched if that cannot be run", async () => {
    await using user = await HubUser.of({ models: [MODEL, { repository: "test/half-GGUF", files: new Map([[FIRST, PARTS[0]]]) }] });
    const location = await describeModel(parseHubName("test/You-GGUF:F32")!, user.client());
    assertEquals(location, `hf:test/You-GGUF@${commitOf(MODEL)}/You-F32.gguf`);
    using files = clusterServices.openFiles(location);
    const { spec, id } = await readModelPackage(files);
    assertEquals([spec.layers, id, await files.location()], [3, "You-F32", location]);
    assertEquals(await namesIn(user.cache), [], "nothing is kept of it");
    const refused: [name: string, said: string][] = [
      ["test/You-GGUF:IQ2_XXS", "You-IQ2_XXS.gguf: it is big endian"],
      ["test/You-GGUF:Q6_K", "it has no GGUF file of Q6_K; there are Q4_0, F32, IQ2_XXS, q8_0"],
      ["test/half-GGUF", `${SECOND}, which is part of ${FIRST}, is missing`],
    ];
    for (const [name, said] of refused) assertStringIncludes((await assertRejects(() => user.pull(name), LatentmeshError)).message, said);
    assertEquals(await Array.fromAsync(Deno.readDir(`${user.cache}/models--test--You-GGUF/blobs`)), []);
  });
});
