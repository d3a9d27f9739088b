/**
 * The memory that docs/models.md tells of is what planning reckons.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { formatBytes } from "../../cluster/logs/log.ts";
import { SHAPES } from "../../core/model/synthetic/shapes.ts";
import { ROOT } from "../support/fixtures.ts";
import { runCli } from "../../bench/support/process.ts";

const text = await Deno.readTextFile(`${ROOT}/docs/models.md`);

describe("docs/models.md", () => {
  it("has the memory of published sizes as plan prints it", async () => {
    const [, command] = /^deno task plan --model synthetic:v2-lite --weights q4 (.*)$/m.exec(text)!;
    const row = (name: string) =>
      text.split("\n").find((line) => line.startsWith(`| \`${name}\``) && line.includes("B |"))!.split("|").map((cell) => cell.trim());
    // A small one in each weight format, and a large one.
    for (const [name, weights, column] of [["v2-lite", "keep", 2], ["v2-lite", "q8", 3], ["v2-lite", "q4", 4], ["v3", "q4", 4]] as const) {
      const { stdout } = await runCli(
        "plan",
        "--device",
        "cpu",
        "--model",
        `synthetic:${name}`,
        "--weights",
        weights,
        ...command.split(" "),
        "--json",
      );
      const [{ weightBytes, cacheBytes, activationBytes }] = JSON.parse(stdout).ranks;
      const cells = row(name);
      assertEquals([cells[column], cells[5], cells[6]], [weightBytes, cacheBytes, activationBytes].map(formatBytes), `${name} ${weights}`);
      assertEquals(cells[7].split(", ")[column - 2], formatBytes(weightBytes + cacheBytes + activationBytes));
    }
  });

  it("names every size that there is", () => {
    for (const name of Object.keys(SHAPES)) assert(text.includes(`\`${name}\``), name);
  });
});
