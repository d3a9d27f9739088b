import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { ROOT } from "../../../bench/support/root.ts";

describe("who waits for a hub", () => {
  it("is told so from the third fault on, since nothing else is seen of a server that starts", async () => {
    const module = (path: string) => JSON.stringify(new URL(`../../../cluster/${path}`, import.meta.url).href);
    const program = `
      import { configureLogs } from ${module("logs/log.ts")};
      import { HubFault } from ${module("hub/hub_errors.ts")};
      import { Patience } from ${module("hub/patience.ts")};
      configureLogs();
      const patience = new Patience({ what: "ask" }, { silentMs: 1, pause: () => Promise.resolve() });
      for (let i = 0; i < 5; i++) await patience.after(new HubFault("nobody answers"), new AbortController().signal);
    `;
    const { stderr } = await new Deno.Command(Deno.execPath(), { args: ["eval", "--quiet", program], cwd: ROOT, stderr: "piped" }).output();
    const lines = new TextDecoder().decode(stderr).trimEnd().split("\n").map((line) => line.replace(/^.*info /, ""));
    assertEquals(lines, [2, 4, 8].map((seconds) => ` cannot ask yet: nobody answers; waiting for ${seconds} s`));
  });
});
