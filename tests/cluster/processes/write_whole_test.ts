import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { ROOT } from "../../../bench/support/root.ts";
import { startServerWith } from "../../../bench/support/process.ts";

describe("files that are written whole", () => {
  it("are there whole, or not at all where the disk is full", async () => {
    if (Deno.build.os === "windows") return;
    const directory = await Deno.makeTempDir();
    // Like a full disk: files may have so many blocks, and who writes more is told instead of ended.
    for (const [limit, code] of [["unlimited", 0], ["100", 7]] as const) {
      const path = `${directory}/${limit}/deep/file`;
      const script = `trap '' XFSZ; ulimit -f ${limit}; exec "$@"`;
      const command = [Deno.execPath(), "run", "-A", "--quiet", `${ROOT}/tests/support/write_file.ts`, path];
      const output = await new Deno.Command("sh", { args: ["-c", script, "sh", ...command] }).output();
      assertEquals(output.code, code, new TextDecoder().decode(output.stderr));
      const names = [...Deno.readDirSync(`${directory}/${limit}/deep`)].map(({ name }) => name);
      assertEquals(names, code === 0 ? ["file"] : []);
      if (code !== 0) assertStringIncludes(new TextDecoder().decode(output.stdout), `Cannot write ${path}: File too large`);
    }
    await Deno.remove(directory, { recursive: true });
  });

  it("do not take a calibration away: it is used for this run where it cannot be kept", async () => {
    const cache = await Deno.makeTempDir();
    // Where a directory should be, there is a file.
    await Deno.writeTextFile(`${cache}/latentmesh`, "");
    const server = await startServerWith({ XDG_CACHE_HOME: cache }, "--ranks", "2", "--model", `${ROOT}/tests/golden/deepseek-v2-lite-tiny`);
    const response = await fetch(`${server.url}/v1/completions`, {
      method: "POST",
      body: JSON.stringify({ prompt: "It", max_tokens: 2, temperature: 0 }),
    });
    assertEquals((await response.json()).usage.completion_tokens, 2);
    const { code, log } = await server.stop();
    assertEquals(code, 0);
    assertStringIncludes(log, `Cannot write ${cache}/latentmesh/`);
    assertStringIncludes(log, "the calibration is used for this run");
    const path = /wrote (\S+basis\.safetensors)/.exec(log)![1];
    assert(await Deno.stat(path).then(() => false, () => true), "and is removed after it");
    await Deno.remove(cache, { recursive: true });
  });
});
