import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { LatentmeshError } from "../../../core/errors.ts";
import { readConfigText } from "../../../core/model/config_text.ts";
import { DirectoryFiles } from "../../../workers/load/model_files.ts";

/** A directory with one file of so many bytes, each the lower half of its position. */
async function withFile(bytes: number, test: (files: DirectoryFiles, path: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/f`;
  await Deno.writeFile(path, Uint8Array.from({ length: bytes }, (_, i) => i));
  const files = new DirectoryFiles(directory);
  try {
    await test(files, path);
  } finally {
    files.close();
    await Deno.remove(directory, { recursive: true });
  }
}

describe("a model directory", () => {
  it("is read from many places at once, each with the bytes that belong there", async () => {
    await withFile(5000, async (files) => {
      const source = (await files.open("f"))!;
      // More than handles are kept.
      const reads = await Promise.all(Array.from({ length: 100 }, (_, i) => source.read(i * 50, 50)));
      reads.forEach((bytes, i) => assertEquals([...bytes], Array.from({ length: 50 }, (_, at) => (i * 50 + at) % 256)));
      const into = new Uint8Array(20);
      assertEquals(await source.read(4980, 20, into), into);
      assertEquals(into[19], 4999 % 256);
    });
  });

  it("says so when a file ends before what was asked for", async () => {
    await withFile(1000, async (files, path) => {
      const source = (await files.open("f"))!;
      await Deno.truncate(path, 600);
      assertEquals((await source.read(500, 100)).length, 100);
      const error = await assertRejects(() => source.read(500, 200), LatentmeshError, "ended at byte 600; was it truncated?");
      assertEquals(error.code, "invalid_checkpoint");
    });
  });

  it("does not mix a file with another one that has taken its place", async () => {
    await withFile(1000, async (files, path) => {
      const source = (await files.open("f"))!;
      await Deno.writeFile(`${path}.new`, new Uint8Array(1000));
      await Deno.rename(`${path}.new`, path);
      // The first has the handle that is open, the other opens the file again.
      const [first, second] = await Promise.allSettled([source.read(1, 1), source.read(1, 1)]);
      assertEquals(first.status === "fulfilled" && [...first.value], [1]);
      assertEquals(second.status === "rejected" && second.reason.message.includes("taken its place"), true);
    });
  });

  it("has no file where there is none", async () => {
    await withFile(1, async (files) => {
      assertEquals(await files.open("g"), null);
      assertEquals(await files.text("g"), null);
    });
  });
});

describe("the files of a model directory", () => {
  it("must be regular ones: a pipe, a device or a directory is a named error, and is not waited for", async () => {
    const directory = await Deno.makeTempDir();
    await Deno.mkdir(`${directory}/directory`);
    await Deno.symlink("/dev/zero", `${directory}/device`);
    const pipes = Deno.build.os === "windows" ? [] : ["pipe"];
    for (const name of pipes) assertEquals((await new Deno.Command("mkfifo", { args: [`${directory}/${name}`] }).output()).success, true);
    using files = new DirectoryFiles(directory);
    for (const name of ["directory", "device", ...pipes]) {
      for (const read of [() => files.open(name), () => files.text(name)]) {
        const error = await assertRejects<LatentmeshError>(read, LatentmeshError, `${directory}/${name}: it is not a regular file`);
        assertEquals(error.code, "invalid_checkpoint");
      }
    }
    assertEquals([await files.open("absent"), await files.text("absent"), await files.text("absent/deeper")], [null, null, null]);
    await Deno.remove(directory, { recursive: true });
  });

  it("are not read as text where they are absurdly long", async () => {
    const directory = await Deno.makeTempDir();
    const file = await Deno.open(`${directory}/config.json`, { write: true, create: true });
    await file.truncate(2 ** 33);
    file.close();
    using files = new DirectoryFiles(directory);
    await assertRejects(() => files.text("config.json"), LatentmeshError, "8589934592 bytes");
    await Deno.remove(directory, { recursive: true });
  });

  it("says of a pointer of Git LFS that it is one, whatever file it stands for", async () => {
    const directory = await Deno.makeTempDir();
    using files = new DirectoryFiles(directory);
    await Deno.writeTextFile(`${directory}/f`, "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345678\n");
    for (const read of [() => files.open("f"), () => files.text("f")]) {
      const error = await assertRejects(read, LatentmeshError, "git lfs pull");
      assertEquals(error.code, "invalid_checkpoint");
    }
    await Deno.writeTextFile(`${directory}/f`, "version https://git-lfs.github.com/spec/v1".padEnd(1024));
    assertEquals((await files.text("f"))!.length, 1024);
    await Deno.remove(directory, { recursive: true });
  });

  it("says what there is where there is no config.json", async () => {
    const directory = await Deno.makeTempDir();
    const what = async (name: string) => {
      using files = new DirectoryFiles(`${directory}/${name}`);
      return (await assertRejects(() => readConfigText(files), LatentmeshError, "is not a model directory")).message;
    };
    await Deno.mkdir(`${directory}/a/snapshots/0123`, { recursive: true });
    await Deno.mkdir(`${directory}/b`);
    await Deno.mkdir(`${directory}/c`);
    await Deno.writeTextFile(`${directory}/a/snapshots/0123/config.json`, "{}");
    await Deno.writeTextFile(`${directory}/b/model-q4.gguf`, "GGUF");
    for (
      const [name, words] of [
        ["none", "nor anything else of that name here; models on the hub are called org/name"],
        ["b/model-q4.gguf", "it is a file"],
        ["b", `model-q4.gguf: a GGUF file is a model by itself, ${directory}/b/model-q4.gguf`],
        ["a", `one in ${directory}/a/snapshots/0123`],
        ["", `one in ${directory}/c`],
        ["c", "org/name"],
      ] as const
    ) {
      if (name === "") await Deno.writeTextFile(`${directory}/c/config.json`, "{}");
      else if (name === "c") await Deno.remove(`${directory}/c/config.json`);
      const message = await what(name);
      assert(message.includes(words), message);
    }
    await Deno.remove(directory, { recursive: true });
  });
});
