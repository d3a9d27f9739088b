import { describe, it } from "@std/testing/bdd";
import { assertEquals, assertStringIncludes } from "@std/assert";
import { ROOT } from "../../../bench/support/root.ts";

describe("errors that nobody takes care of", () => {
  it("are logged and counted, and end no server", async () => {
    const script = `
      import { configureLogs } from ${JSON.stringify(new URL("../../../cluster/logs/log.ts", import.meta.url).href)};
      import { UncaughtErrors } from ${JSON.stringify(new URL("../../../cluster/logs/uncaught.ts", import.meta.url).href)};
      configureLogs();
      {
        using uncaught = new UncaughtErrors();
        void Promise.reject(new TypeError("nobody awaits it"));
        setTimeout(() => { throw new RangeError("in a timer"); }, 0);
        await new Promise((resolve) => setTimeout(resolve, 50));
        console.log(uncaught.count);
      }
      void Promise.reject(new TypeError("nobody listens any more"));
      await new Promise((resolve) => setTimeout(resolve, 1000));
      console.log("never");`;
    const file = await Deno.makeTempFile({ suffix: ".ts" });
    try {
      await Deno.writeTextFile(file, script);
      const args = ["run", "--quiet", "--allow-env", "--config", `${ROOT}/deno.json`, file];
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
      const [printed, logged] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
      assertEquals([code, printed], [1, "2\n"]);
      for (const text of ["nobody awaits it", "in a timer", "is a bug of this program"]) assertStringIncludes(logged, text);
    } finally {
      await Deno.remove(file);
    }
  });
});
