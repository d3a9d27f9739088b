import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { linesOf, nvidiaNodes, pciAddresses } from "../../../cluster/processes/host_gpus.ts";
import { ROOT } from "../../../bench/support/root.ts";

describe("the GPUs of a host", () => {
  it("are found with no more permissions than a server has", async () => {
    const { tasks } = JSON.parse(await Deno.readTextFile(`${ROOT}/deno.json`));
    const permissions = [...tasks.serve.command.matchAll(/--allow-\S+/g)].map(([flag]) => flag);
    assert(permissions.length > 3 && !permissions.includes("--allow-all"), `${permissions}`);
    const script = `import { linesOf, nvidiaNodes, pciAddresses } from ${
      JSON.stringify(new URL("../../../cluster/processes/host_gpus.ts", import.meta.url).href)
    };
      console.log(JSON.stringify([linesOf("ls", ["/dev"]), nvidiaNodes(), pciAddresses()]));`;
    const file = await Deno.makeTempFile({ suffix: ".ts" });
    try {
      await Deno.writeTextFile(file, script);
      const args = ["run", "--quiet", "--no-prompt", ...permissions, file];
      const { stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
      assertEquals(new TextDecoder().decode(stderr), "");
      const [nodes, nvidia, pci] = JSON.parse(new TextDecoder().decode(stdout));
      assert(Deno.build.os === "windows" || nodes.includes("null"), `${nodes}`);
      assertEquals([nvidia, pci], [nvidiaNodes(), pciAddresses()]);
    } finally {
      await Deno.remove(file);
    }
  });

  it("are none where nothing can be listed", () => {
    assertEquals([linesOf("ls", ["/no such directory"]), linesOf("no such program", [])], [[], []]);
  });
});
