/**
 * The memory that docs/models.md tells of is what planning reckons.
 */
import { describe, it } from "@std/testing/bdd";
import { assert, assertEquals } from "@std/assert";
import { formatBytes } from "../../cluster/logs/log.ts";
import { SHAPES } from "../../core/model/synthetic/shapes.ts";
import { runHere } from "../support/cli_here.ts";
import { ROOT } from "../../bench/support/root.ts";

const text = await Deno.readTextFile(`${ROOT}/docs/models.md`);

/** What one worker of a synthetic model takes, as `plan` prints it. */
async function planned(model: string, weights: string): Promise<{ weightBytes: number; cacheBytes: number; activationBytes: number }> {
  const [, command] = /^deno task plan --model synthetic:v2-lite --weights q4 (.*)$/m.exec(text)!;
  const named = ["--device", "cpu", "--model", `synthetic:${model}`, "--weights", weights];
  return JSON.parse(await runHere("plan", ...named, ...command.split(" "), "--json")).ranks[0];
}

describe("docs/models.md", () => {
  it("has the memory of published sizes as plan prints it", async () => {
    const row = (name: string) =>
      text.split("\n").find((line) => line.startsWith(`| \`${name}\``) && line.includes("B |"))!.split("|").map((cell) => cell.trim());
    // A small one in each weight format, and a large one.
    for (
      const [name, weights, column] of [["v2-lite", "keep", 2], ["v2-lite", "q8", 3], ["v2-lite", "q4", 4], ["v3", "q4", 4], [
        "v3.2",
        "q4",
        4,
      ]] as const
    ) {
      const { weightBytes, cacheBytes, activationBytes } = await planned(name, weights);
      const cells = row(name);
      assertEquals([cells[column], cells[5], cells[6]], [weightBytes, cacheBytes, activationBytes].map(formatBytes), `${name} ${weights}`);
      assertEquals(cells[7].split(", ")[column - 2], formatBytes(weightBytes + cacheBytes + activationBytes));
    }
  });

  it("has the memory of experts in four bits, beside weights as they are", async () => {
    const { weightBytes } = await planned("glm-4.7-flash?int4=32", "keep");
    assert(text.replaceAll(/\s+/g, " ").includes(`\`glm-4.7-flash?int4=32\` ${formatBytes(weightBytes)}`), formatBytes(weightBytes));
  });

  it("names every size that there is", () => {
    for (const name of Object.keys(SHAPES)) assert(text.includes(`\`${name}\``), name);
  });
});
