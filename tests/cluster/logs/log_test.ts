import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { ROOT } from "../../support/fixtures.ts";

/** What a program writes to standard error that logs two lines, one with values. */
async function logged(format: string): Promise<string[]> {
  const log = new URL("../../../cluster/logs/log.ts", import.meta.url).href;
  const program = `
    import { configureLogs, log, logRecord } from ${JSON.stringify(log)};
    configureLogs();
    log("warn", "worker {a} ended");
    logRecord("info", "{method} {path} {status} in {ms} ms", { method: "GET", path: "/readyz", status: 503, ms: 1.4 });
  `;
  const args = ["eval", "--quiet", program];
  const { stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT, env: { LATENTMESH_LOG_FORMAT: format }, stderr: "piped" }).output();
  return new TextDecoder().decode(stderr).trimEnd().split("\n");
}

describe("logs", () => {
  it("are lines for people", async () => {
    assertEquals(await logged("text"), ["worker {a} ended", "GET /readyz 503 in 1.4 ms"]);
  });

  it("are the same messages in JSON, with their values beside them", async () => {
    const records = (await logged("json")).map((line) => JSON.parse(line));
    assertEquals(records.map(({ level, message, properties }) => ({ level, message, properties })), [
      { level: "WARN", message: "worker {a} ended", properties: {} },
      { level: "INFO", message: "GET /readyz 503 in 1.4 ms", properties: { method: "GET", path: "/readyz", status: 503, ms: 1.4 } },
    ]);
  });
});
