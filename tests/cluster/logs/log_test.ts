import { describe, it } from "@std/testing/bdd";
import { assertEquals } from "@std/assert";
import { ROOT } from "../../../bench/support/root.ts";

const LINES = `
  log("warn", "worker {a} ended");
  logRecord("info", "{method} {path} {status} in {ms} ms", { method: "GET", path: "/readyz", status: 503, ms: 1.4 });
`;

/** Of a text line, before the level. */
const TIME = /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} /;

/** What a program writes to standard error that logs lines: by default two, one with values. */
async function logged(format: string, lines = LINES): Promise<string[]> {
  const log = new URL("../../../cluster/logs/log.ts", import.meta.url).href;
  const program = `
    import { configureLogs, log, logEnd, logRecord } from ${JSON.stringify(log)};
    configureLogs();
    ${lines}
  `;
  const args = ["eval", "--quiet", program];
  const { stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT, env: { LATENTMESH_LOG_FORMAT: format }, stderr: "piped" }).output();
  return new TextDecoder().decode(stderr).trimEnd().split("\n");
}

describe("logs", () => {
  it("are lines for people, each with its time and level", async () => {
    const lines = await logged("text");
    assertEquals(lines.map((line) => TIME.test(line)), [true, true], lines.join("\n"));
    assertEquals(lines.map((line) => line.replace(TIME, "")), ["warn  worker {a} ended", "info  GET /readyz 503 in 1.4 ms"]);
  });

  it("end with what ended the program, which is all that a command says that could not begin", async () => {
    assertEquals(await logged("text", `logEnd("Cannot use {x}");`), ["error: Cannot use {x}"]);
    const [, end] = await logged("text", `log("info", "ready"); logEnd("The device is gone");`);
    assertEquals(end.replace(TIME, ""), "error The device is gone");
    const [{ level, message }] = (await logged("json", `logEnd("The device is gone");`)).map((line) => JSON.parse(line));
    assertEquals([level, message], ["FATAL", "The device is gone"]);
  });

  it("are the same messages in JSON, with their values beside them", async () => {
    const records = (await logged("json")).map((line) => JSON.parse(line));
    assertEquals(records.map(({ level, message, properties }) => ({ level, message, properties })), [
      { level: "WARN", message: "worker {a} ended", properties: {} },
      { level: "INFO", message: "GET /readyz 503 in 1.4 ms", properties: { method: "GET", path: "/readyz", status: 503, ms: 1.4 } },
    ]);
  });
});
