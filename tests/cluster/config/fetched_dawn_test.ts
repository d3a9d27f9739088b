import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertRejects } from "@std/assert";
import { withDawn } from "../../../cluster/config/fetched_dawn.ts";
import { LatentmeshError } from "../../../core/errors.ts";
import { openDevice } from "../../../kernels/device/providers.ts";

describe("Dawn that nobody has said the place of", () => {
  it("is fetched once, into a folder of its own, and only for those who ask for it", async () => {
    const home = await Deno.makeTempDir();
    let installed = 0;
    const install = async (folder: string) => {
      installed++;
      await Deno.mkdir(`${folder}/node_modules/webgpu`, { recursive: true });
      await Deno.writeTextFile(`${folder}/node_modules/webgpu/index.js`, "");
    };
    try {
      assertEquals(await withDawn({ device: "auto", dawn: undefined }, { home, install }), { device: "auto", dawn: undefined });
      assertEquals(await withDawn({ device: "dawn", dawn: "mine.js" }, { home, install }), { device: "dawn", dawn: "mine.js" });
      assertEquals(installed, 0);
      const dawn = `${home}/webgpu-0.6.2/node_modules/webgpu/index.js`;
      assertEquals((await withDawn({ device: "dawn", dawn: undefined }, { home, install })).dawn as string | undefined, dawn);
      assertEquals((await withDawn({ device: "dawn", dawn: undefined }, { home, install })).dawn, dawn);
      assertEquals(installed, 1);
      assertEquals(Array.from(Deno.readDirSync(home), ({ name }) => name), ["webgpu-0.6.2"]);
    } finally {
      await Deno.remove(home, { recursive: true });
    }
  });

  it("is said to be missing, with what to do, and nothing half is left", async () => {
    const home = await Deno.makeTempDir();
    try {
      const fails = withDawn({ device: "dawn", dawn: undefined }, { home, install: () => Promise.reject(new Error("no network")) });
      await assertRejects(() => fails, LatentmeshError, "Cannot fetch Dawn: no network. Install it by hand: npm install");
      const unable = withDawn({ device: "dawn", dawn: undefined }, { home, mayWrite: () => Promise.resolve(false) });
      await assertRejects(() => unable, LatentmeshError, "may not write, to fetch it: deno task serve --device dawn does so once");
      assertEquals(Array.from(Deno.readDirSync(home)), []);
      // What opens devices downloads nothing by itself.
      await assertRejects(() => openDevice("dawn", {}), LatentmeshError, "LATENTMESH_DAWN");
    } finally {
      await Deno.remove(home, { recursive: true });
    }
  });
});
